import faulthandler

import pytest

# A hang is the failure that these tests are about: say where, and end.
_LIMIT_SECONDS = 100


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(_LIMIT_SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
