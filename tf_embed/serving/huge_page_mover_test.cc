#include "tf_embed/serving/huge_page_mover.h"

#include <vector>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

constexpr int64_t kMegabyte = int64_t{1} << 20;

HugePageMover::Region RegionOf(const std::vector<int64_t>& values) {
  return {values.data(),
          static_cast<int64_t>(values.size() * sizeof(values[0]))};
}

constexpr int64_t kDue = HugePageMover::kBytesReadPerPage;

TEST(HugePageMoverTest, MovesPageByPageAndKeepsWhatIsThere) {
  std::vector<int64_t> first(9 * kMegabyte / 8), second(5 * kMegabyte / 8);
  for (size_t i = 0; i < first.size(); ++i) first[i] = i;
  for (size_t i = 0; i < second.size(); ++i) second[i] = -i;
  const HugePageMover::Region regions[] = {RegionOf(first), RegionOf(second)};
  HugePageMover mover;
  int calls = 0;
  do {
    mover.Advance({regions, 2}, kDue / 2);
    mover.Advance({regions, 2}, kDue / 2);
  } while (!mover.done() && ++calls < 20);
  EXPECT_LT(calls, 20);
  for (size_t i = 0; i < first.size(); ++i) ASSERT_EQ(first[i], i);
  for (size_t i = 0; i < second.size(); ++i) ASSERT_EQ(second[i], -i);
}

TEST(HugePageMoverTest, SmallAndEmptyRegionsAreLeftAlone) {
  std::vector<int64_t> small(100);
  const HugePageMover::Region regions[] = {RegionOf(small), {}};
  HugePageMover mover;
  mover.Advance({regions, 2}, kDue);
  EXPECT_TRUE(mover.done());
}

}  // namespace
}  // namespace tf_embed
