#include "tf_embed/lookup/contributions.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

template <class Contribution>
class ContributionsTest : public testing::Test {};

using Forms =
    testing::Types<PlainContribution, WeightedContribution, WideContribution>;
TYPED_TEST_SUITE(ContributionsTest, Forms);

TYPED_TEST(ContributionsTest, SortsByIdAndKeepsTheOrderOfEqualIds) {
  std::mt19937_64 rng(11);
  for (size_t n : {0, 1, 2, 63, 64, 65, 1000, 1023, 1024, 5000}) {
    for (int id_bits : {0, 1, 5, 8, 9, 17, 22, 23, 32}) {
      SCOPED_TRACE(testing::Message() << n << " of " << id_bits << " bits");
      std::vector<TypeParam> contributions;
      for (size_t i = 0; i < n; ++i) {
        const uint64_t id = rng() & ((uint64_t{1} << id_bits) - 1);
        // Several of the same bag; the coefficient tells them apart.
        contributions.push_back(TypeParam::Make(id, i / 3, i, i));
      }
      std::vector<TypeParam> expected = contributions;
      std::stable_sort(expected.begin(), expected.end(),
                       [](const TypeParam& a, const TypeParam& b) {
                         return a.id() < b.id();
                       });
      std::vector<TypeParam> spare(n);
      const std::vector<Bag> bags(n, Bag{nullptr, 1.0f});
      const TypeParam* sorted =
          SortById(contributions.data(), spare.data(), n, 0, id_bits);
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(sorted[i].id(), expected[i].id()) << i;
        ASSERT_EQ(sorted[i].bag(), expected[i].bag()) << i;
        ASSERT_EQ(sorted[i].coefficient(bags.data()),
                  expected[i].coefficient(bags.data()))
            << i;
      }
    }
  }
}

TYPED_TEST(ContributionsTest, SortsByTheBitsThatDiffer) {
  std::mt19937_64 rng(12);
  std::vector<TypeParam> contributions;
  for (int i = 0; i < 3000; ++i) {
    contributions.push_back(TypeParam::Make((rng() & 0xffff0) | 5, i, 1.0f, i));
  }
  std::vector<TypeParam> spare(contributions.size());
  const TypeParam* sorted =
      SortById(contributions.data(), spare.data(), contributions.size(), 4, 20);
  for (size_t i = 1; i < contributions.size(); ++i) {
    ASSERT_LE(sorted[i - 1].id(), sorted[i].id());
  }
}

TYPED_TEST(ContributionsTest, FindsRuns) {
  std::vector<TypeParam> contributions;
  for (uint64_t id : {0, 0, 0, 4, 7, 7}) {
    contributions.push_back(TypeParam::Make(id, 0, 1.0f, 0));
  }
  using Index = typename TypeParam::Index;
  std::vector<Index> begins(7, 99);
  EXPECT_EQ(FindRuns(contributions.data(), 6, begins.data()), 3);
  begins.resize(4);
  EXPECT_EQ(begins, (std::vector<Index>{0, 3, 4, 6}));
  EXPECT_EQ(FindRuns(contributions.data(), 0, begins.data()), 0);
  EXPECT_EQ(begins[0], 0);
}

}  // namespace
}  // namespace tf_embed
