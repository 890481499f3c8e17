#include "tf_embed/serving/row_gradients.h"

#include <map>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tf_embed/base/thread_pool.h"

namespace tf_embed {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> RowsOf(const RowGradients& gradients) {
  return {gradients.rows().begin(), gradients.rows().end()};
}

TEST(RowGradientsTest, EachRowOnceInOrderOfAppearance) {
  const std::vector<int64_t> ids = {7, 3, 7}, more = {9, 3};
  const std::vector<float> first = {1, 2, 3}, second = {10, 20};
  GradientSource sources[2];
  sources[0].ids.num_positions = 3;
  sources[0].ids.ids = ids;
  sources[0].gradients = first.data();
  sources[1].ids.num_positions = 2;
  sources[1].ids.ids = more;
  sources[1].gradients = second.data();
  RowGradients gradients;
  gradients.FindRows({sources, 2});
  EXPECT_THAT(RowsOf(gradients), ElementsAre(7, 3, 9));
  std::vector<float> out(3, -1);
  SerialExecutor executor;
  gradients.Sum(1, out.data(), executor);
  EXPECT_THAT(out, ElementsAre(4, 22, 10));
}

TEST(RowGradientsTest, NoIdsGiveNoRows) {
  RowGradients gradients;
  gradients.FindRows({});
  EXPECT_TRUE(gradients.rows().empty());
  SerialExecutor executor;
  gradients.Sum(4, nullptr, executor);
}

// Reused object, random bags, against a map; exact, as the numbers are small
// integers.
TEST(RowGradientsTest, EqualsAMapOfSums) {
  constexpr int kSeed = 20261121;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  RowGradients gradients;
  ThreadPool pool(2);
  for (int round = 0; round < 50; ++round) {
    const int64_t dim = 1 + random() % 20;
    const int64_t positions = random() % 40;
    std::vector<int64_t> offsets = {0}, ids;
    std::vector<float> weights, gradient;
    std::map<int64_t, std::vector<float>> want;
    for (int64_t p = 0; p < positions; ++p) {
      for (int64_t k = 0; k < dim; ++k) {
        gradient.push_back(static_cast<float>(random() % 9) - 4);
      }
      for (int j = random() % 6; j > 0; --j) {
        ids.push_back((random() % 50) << (round % 40));
        weights.push_back(static_cast<float>(random() % 5) - 2);
        std::vector<float>& row = want[ids.back()];
        row.resize(dim);
        for (int64_t k = 0; k < dim; ++k) {
          row[k] += weights.back() * gradient[p * dim + k];
        }
      }
      offsets.push_back(ids.size());
    }
    GradientSource source;
    source.ids.num_positions = positions;
    source.ids.offsets = offsets;
    source.ids.ids = ids;
    source.ids.weights = weights;
    source.gradients = gradient.data();
    gradients.FindRows({&source, 1});
    ASSERT_EQ(gradients.rows().size(), want.size());
    std::vector<float> out(want.size() * dim);
    gradients.Sum(dim, out.data(), pool);
    for (size_t r = 0; r < want.size(); ++r) {
      const std::vector<float> got(out.begin() + r * dim,
                                   out.begin() + (r + 1) * dim);
      EXPECT_EQ(got, want[gradients.rows()[r]]);
    }
  }
}

}  // namespace
}  // namespace tf_embed
