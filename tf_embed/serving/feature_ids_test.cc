#include "tf_embed/serving/feature_ids.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tf_embed {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The tensors of one feature, owned.
struct Tensors {
  std::vector<int64_t> ids;
  std::vector<int64_t> indices_or_splits;
  std::vector<int64_t> dense_shape;
  std::vector<float> weights;
  std::vector<int64_t> weight_splits;
  bool weighted = false;

  std::vector<int64_t> ids_shape, indices_shape, weights_shape, splits_shape;

  FeatureInput input() {
    const auto view = [](const std::vector<int64_t>& values,
                         std::vector<int64_t>& shape, ArrayView::Type type,
                         const void* data) {
      if (shape.empty()) shape = {static_cast<int64_t>(values.size())};
      ArrayView result;
      result.type = type;
      result.data = data;
      result.shape = shape;
      return result;
    };
    FeatureInput result;
    result.ids = view(ids, ids_shape, ArrayView::Type::kInt64, ids.data());
    if (!dense_shape.empty()) {
      const int64_t rank = dense_shape.size();
      indices_shape = {static_cast<int64_t>(indices_or_splits.size()) / rank,
                       rank};
    }
    result.indices_or_splits =
        view(indices_or_splits, indices_shape, ArrayView::Type::kInt64,
             indices_or_splits.data());
    result.dense_shape = dense_shape;
    result.weighted = weighted || !weights.empty();
    weights_shape = {static_cast<int64_t>(weights.size())};
    result.weights.type = ArrayView::Type::kFloat32;
    result.weights.data = weights.data();
    result.weights.shape = weights_shape;
    if (!weight_splits.empty()) {
      result.weight_splits =
          view(weight_splits, splits_shape, ArrayView::Type::kInt64,
               weight_splits.data());
    }
    return result;
  }
};

FeatureSpec Spec(FeatureForm form, Combiner combiner = Combiner::kSum,
                 int64_t sequence_length = 0) {
  return {"f", form, combiner, sequence_length};
}

template <typename T>
std::vector<T> Copy(Span<const T> span) {
  return std::vector<T>(span.begin(), span.end());
}

TEST(FeatureIdsTest, Dense_KeepsShapeAndNeedsNoOffsets) {
  Tensors t{{3, 1, 2, 0}};
  t.ids_shape = {2, 2};
  FeatureIds ids;
  ASSERT_TRUE(ids.Group(Spec(FeatureForm::kDense), t.input(), 4).ok());
  EXPECT_THAT(Copy(ids.position_shape()), ElementsAre(2, 2));
  EXPECT_THAT(Copy(ids.pooled().ids), ElementsAre(3, 1, 2, 0));
  EXPECT_TRUE(ids.pooled().offsets.empty());
}

TEST(FeatureIdsTest, Dense_BadIdIsNamedByItsCoordinates) {
  Tensors t{{3, 1, 4, 0}};
  t.ids_shape = {2, 2};
  FeatureIds ids;
  const Status status = ids.Group(Spec(FeatureForm::kDense), t.input(), 4);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "indices[1,0] = 4 is not in [0, 4) (feature 'f')");
}

TEST(FeatureIdsTest, Int32IdsAreWidened) {
  const std::vector<int32_t> narrow = {2, 0};
  const std::vector<int64_t> shape = {2};
  FeatureInput input;
  input.ids.type = ArrayView::Type::kInt32;
  input.ids.data = narrow.data();
  input.ids.shape = shape;
  FeatureIds ids;
  ASSERT_TRUE(ids.Group(Spec(FeatureForm::kDense), input, 3).ok());
  EXPECT_THAT(Copy(ids.pooled().ids), ElementsAre(2, 0));
}

TEST(FeatureIdsTest, Sparse_EndsAtTheLastRowThatHasAnId) {
  Tensors t{{1, 2, 3}, {0, 0, 2, 0, 2, 1}, {5, 2}};
  FeatureIds ids;
  ASSERT_TRUE(
      ids.Group(Spec(FeatureForm::kSparse, Combiner::kMean), t.input(), 4)
          .ok());
  EXPECT_THAT(Copy(ids.position_shape()), ElementsAre(3));
  EXPECT_THAT(Copy(ids.pooled().offsets), ElementsAre(0, 1, 1, 3));
  EXPECT_THAT(Copy(ids.pooled().scales), ElementsAre(1.0f, 1.0f, 0.5f));
}

TEST(FeatureIdsTest, Sparse_RefusesRowsThatDecrease) {
  Tensors t{{1, 2}, {1, 0, 0, 0}, {2, 1}};
  FeatureIds ids;
  EXPECT_THAT(ids.Group(Spec(FeatureForm::kSparse), t.input(), 4).message(),
              HasSubstr("segment ids are not increasing"));
}

TEST(FeatureIdsTest, SparseSafe_PrunesAndSortsAndRemembersEntries) {
  Tensors t{{1, -2, 3, 2}, {1, 0, 0, 0, 0, 1, 1, 1}, {3, 2}};
  t.weights = {2, 1, 4, -1};
  FeatureIds ids;
  ASSERT_TRUE(
      ids.Group(Spec(FeatureForm::kSparseSafe, Combiner::kMean), t.input(), 4)
          .ok());
  EXPECT_THAT(Copy(ids.pooled().offsets), ElementsAre(0, 1, 2, 2));
  EXPECT_THAT(Copy(ids.pooled().ids), ElementsAre(3, 1));
  EXPECT_THAT(Copy(ids.entries()), ElementsAre(2, 0));
  EXPECT_THAT(Copy(ids.pooled().scales), ElementsAre(0.25f, 0.5f, 0.0f));
  EXPECT_THAT(Copy(ids.zero_positions()), IsEmpty());
}

TEST(FeatureIdsTest, SparseSafe_SumKeepsNegativeWeights) {
  Tensors t{{1, 2}, {0, 0, 0, 1}, {1, 2}};
  t.weights = {1, -1};
  FeatureIds ids;
  ASSERT_TRUE(ids.Group(Spec(FeatureForm::kSparseSafe), t.input(), 4).ok());
  EXPECT_THAT(Copy(ids.pooled().weights), ElementsAre(1.0f, -1.0f));
}

TEST(FeatureIdsTest, SparseSafe_BadIdIsCountedAsTensorFlowGathers) {
  // Row 1 is empty and asks for row 0; then 4.
  Tensors t{{1, 4, 5}, {0, 0, 2, 1, 2, 2}, {4, 3}};
  FeatureIds ids;
  EXPECT_THAT(ids.Group(Spec(FeatureForm::kSparseSafe), t.input(), 4).message(),
              HasSubstr("indices[2] = 4 is not in [0, 4)"));
}

TEST(FeatureIdsTest, SparseSafe_RowOutsideIsCountedAmongTheKept) {
  Tensors t{{-1, 1, 2}, {0, 0, 1, 0, 7, 0}, {4, 3}};
  FeatureIds ids;
  EXPECT_THAT(ids.Group(Spec(FeatureForm::kSparseSafe), t.input(), 4).message(),
              HasSubstr("indices(1, 0) is invalid: 7 >= 4"));
}

TEST(FeatureIdsTest, SparseSafe_HigherRanksKeepTheirLeadingAxes) {
  Tensors t{{1, 2}, {0, 1, 0, 1, 0, 1}, {2, 2, 3}};
  FeatureIds ids;
  ASSERT_TRUE(ids.Group(Spec(FeatureForm::kSparseSafe), t.input(), 4).ok());
  EXPECT_THAT(Copy(ids.position_shape()), ElementsAre(2, 2));
  EXPECT_THAT(Copy(ids.pooled().offsets), ElementsAre(0, 0, 1, 2, 2));
}

TEST(FeatureIdsTest, SparseSequence_CutsAndAddsAtTheSamePlace) {
  Tensors t{{1, 2, 3, 0}, {0, 0, 0, 0, 0, 5, 1, 1}, {2, 6}};
  FeatureIds ids;
  ASSERT_TRUE(ids.Group(Spec(FeatureForm::kSparseSequence, Combiner::kMean, 2),
                        t.input(), 4)
                  .ok());
  EXPECT_THAT(Copy(ids.position_shape()), ElementsAre(2, 2));
  EXPECT_THAT(Copy(ids.pooled().offsets), ElementsAre(0, 2, 2, 2, 3));
  EXPECT_THAT(Copy(ids.pooled().ids), ElementsAre(1, 2, 0));
  EXPECT_TRUE(ids.pooled().scales.empty());
}

TEST(FeatureIdsTest, Ragged_WeightsThatSumToZeroMakeAZeroPosition) {
  Tensors t{{1, 2, 3}, {0, 2, 2, 3}};
  t.weights = {1, -1, 2};
  FeatureIds ids;
  ASSERT_TRUE(
      ids.Group(Spec(FeatureForm::kRagged, Combiner::kMean), t.input(), 4)
          .ok());
  EXPECT_THAT(Copy(ids.zero_positions()), ElementsAre(0));
  EXPECT_THAT(Copy(ids.pooled().scales), ElementsAre(0.0f, 0.0f, 0.5f));
}

TEST(FeatureIdsTest, Ragged_SqrtnScalesByTheRootOfTheSumOfSquares) {
  Tensors t{{1, 2}, {0, 2}};
  t.weights = {3, -4};
  FeatureIds ids;
  ASSERT_TRUE(
      ids.Group(Spec(FeatureForm::kRagged, Combiner::kSqrtn), t.input(), 4)
          .ok());
  EXPECT_THAT(Copy(ids.pooled().scales), ElementsAre(0.2f));
}

TEST(FeatureIdsTest, RaggedSequence_CutsAndPads) {
  Tensors t{{1, 2, 3, 0}, {0, 3, 3, 4}};
  FeatureIds ids;
  ASSERT_TRUE(ids.Group(Spec(FeatureForm::kRaggedSequence, Combiner::kSum, 2),
                        t.input(), 4)
                  .ok());
  EXPECT_THAT(Copy(ids.position_shape()), ElementsAre(3, 2));
  EXPECT_THAT(Copy(ids.pooled().offsets), ElementsAre(0, 1, 2, 2, 2, 3, 3));
  EXPECT_THAT(Copy(ids.pooled().ids), ElementsAre(1, 2, 0));
}

TEST(FeatureIdsTest, RaggedSequence_ChecksIdsThatAreCut) {
  Tensors t{{0, 7}, {0, 2}};
  FeatureIds ids;
  EXPECT_THAT(ids.Group(Spec(FeatureForm::kRaggedSequence, Combiner::kSum, 1),
                        t.input(), 4)
                  .message(),
              HasSubstr("indices[1] = 7 is not in [0, 4)"));
}

struct BadInput {
  FeatureForm form;
  Tensors tensors;
  const char* message;
};

class FeatureIdsBadInputTest : public ::testing::TestWithParam<BadInput> {};

TEST_P(FeatureIdsBadInputTest, IsNamed) {
  Tensors tensors = GetParam().tensors;
  FeatureIds ids;
  const Status status =
      ids.Group(Spec(GetParam().form, Combiner::kMean, 2), tensors.input(), 4);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr(GetParam().message));
  EXPECT_THAT(status.message(), HasSubstr("(feature 'f')"));
}

Tensors Weighted(Tensors tensors, std::vector<float> weights,
                 std::vector<int64_t> splits = {}) {
  tensors.weighted = true;
  tensors.weights = std::move(weights);
  tensors.weight_splits = std::move(splits);
  return tensors;
}

INSTANTIATE_TEST_SUITE_P(
    All, FeatureIdsBadInputTest,
    ::testing::Values(
        BadInput{FeatureForm::kRagged, {{1}, {}}, "at least one element"},
        BadInput{FeatureForm::kRagged, {{1}, {1, 1}}, "must begin with 0"},
        BadInput{FeatureForm::kRagged,
                 {{1, 2}, {0, 2, 1, 2}},
                 "row_splits[2] = 1 is less than 2"},
        BadInput{FeatureForm::kRagged,
                 {{1}, {0, 2}},
                 "row splits end at 2, but there are 1 ids"},
        BadInput{FeatureForm::kRagged, Weighted({{1, 2}, {0, 2}}, {1}),
                 "there are 1 weights for 2 ids"},
        BadInput{FeatureForm::kRagged,
                 Weighted({{1, 2}, {0, 2}}, {1, 1}, {0, 1, 2}),
                 "Condition x == y did not hold"},
        BadInput{FeatureForm::kSparse,
                 {{1}, {-3, 0}, {2, 2}},
                 "segment ids must be >= 0"},
        BadInput{FeatureForm::kSparse,
                 {{1, 2}, {-1, 0, 0, 0}, {2, 2}},
                 "Segment id -1 out of range [0, 1)"},
        BadInput{FeatureForm::kSparseSafe,
                 {{1, 2}, {0, 0}, {2, 2}},
                 "indices of shape [2, 2]"},
        BadInput{FeatureForm::kSparseSafe,
                 {{1}, {0, 0}, {-2, 2}},
                 "negative size -2"},
        BadInput{FeatureForm::kSparseSafe,
                 {{}, {}, {int64_t{1} << 62, 4, 1}},
                 "too many output positions"},
        BadInput{FeatureForm::kSparseSequence,
                 {{1}, {0, 0, 0}, {1, 1, 1}},
                 "sparse tensor of rank 2"}));

TEST(FeatureIdsTest, ManyPositionsAreRefusedNotCrashed) {
  Tensors t{{}, {}, {int64_t{1} << 60, 1}};
  FeatureIds ids;
  EXPECT_EQ(ids.Group(Spec(FeatureForm::kSparseSafe), t.input(), 4).code(),
            StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tf_embed
