#include "virtual_tpu/options.h"

#include "gtest/gtest.h"

namespace tf_embed::virtual_tpu {
namespace {

TEST(OptionsTest, NumCores_EmptyAndZeroAreOff) {
  EXPECT_EQ(ParseNumCores(nullptr).value(), 0);
  EXPECT_EQ(ParseNumCores("").value(), 0);
  EXPECT_EQ(ParseNumCores("0").value(), 0);
}

TEST(OptionsTest, NumCores_FromOneToSixtyFour) {
  EXPECT_EQ(ParseNumCores("1").value(), 1);
  EXPECT_EQ(ParseNumCores("64").value(), 64);
}

TEST(OptionsTest, NumCores_AnythingElseIsNamedInTheError) {
  for (const char* text : {"65", "-1", "two", "4x", "99999999999999999999"}) {
    const StatusOr<int> cores = ParseNumCores(text);
    ASSERT_FALSE(cores.ok()) << text;
    EXPECT_EQ(cores.status().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(cores.status().message(),
              StrCat("number of virtual TPU cores is '", text,
                     "', must be from 1 to 64"));
  }
}

TEST(OptionsTest, SetNumCores_OnceAndForAll) {
  EXPECT_EQ(SetNumCores(0).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(NumCores(), 0);
  EXPECT_TRUE(SetNumCores(4).ok());
  EXPECT_TRUE(SetNumCores(4).ok());
  const Status again = SetNumCores(8);
  EXPECT_EQ(again.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(again.message(),
            "the virtual TPU already has 4 cores and cannot change to 8");
  EXPECT_EQ(NumCores(), 4);
}

}  // namespace
}  // namespace tf_embed::virtual_tpu
