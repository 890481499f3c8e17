#include "tf_embed/engine/group_by_position.h"

#include "tf_embed/engine/enqueue_input.h"

namespace tf_embed {
namespace {

struct Census {
  bool in_order = true;  // as they are, nothing dropped
  bool one_each = true;  // exactly one id at each position
  bool weighted = false;
  int64_t kept = 0;
};

// Counts the ids of position p in offsets[p + 1].
Census Count(Span<const PlacedIds> parts, FeatureBatch& out) {
  Census census;
  int32_t previous = 0;
  // Of ids at the previous position: counting them in memory, one would have to
  // wait for the other.
  int64_t run = 0;
  out.offsets.assign(out.num_positions + 1, 0);
  for (const PlacedIds& part : parts) {
    census.weighted |= part.use_weights;
    for (int32_t position : part.positions) {
      if (position == previous) {
        ++run;
        continue;
      }
      // A dropped id, -1, is never in order.
      census.in_order &= position >= previous;
      if (position == PlacedIds::kDropped) continue;
      if (run > 0) out.offsets[previous + 1] += run;
      census.kept += run;
      previous = position;
      run = 1;
    }
  }
  if (run > 0) out.offsets[previous + 1] += run;
  census.kept += run;
  for (int64_t p = 0; p < out.num_positions; ++p) {
    census.one_each &= out.offsets[p + 1] == 1;
    out.offsets[p + 1] += out.offsets[p];
  }
  return census;
}

float WeightAt(const ArrayView& weights, int64_t i) {
  return weights.type == ArrayView::Type::kFloat32
             ? static_cast<const float*>(weights.data)[i]
             : static_cast<float>(static_cast<const double*>(weights.data)[i]);
}

void CopyInOrder(Span<const PlacedIds> parts, const Census& census,
                 FeatureBatch& out) {
  out.ids.reserve(census.kept);
  if (census.weighted) out.weights.reserve(census.kept);
  for (const PlacedIds& part : parts) {
    AppendIds(part.input->ids, out.ids);
    if (part.use_weights) {
      AppendWeights(part.input->weights, out.weights);
    } else if (census.weighted) {
      out.weights.resize(out.ids.size(), 1.0f);
    }
  }
}

void Scatter(Span<const PlacedIds> parts, const Census& census,
             FeatureBatch& out) {
  std::vector<int64_t> next(out.offsets.begin(), out.offsets.end() - 1);
  out.ids.resize(census.kept);
  if (census.weighted) out.weights.assign(census.kept, 1.0f);
  for (const PlacedIds& part : parts) {
    VisitIntegers(part.input->ids, [&](const auto* ids) {
      for (size_t i = 0; i < part.positions.size(); ++i) {
        if (part.positions[i] == PlacedIds::kDropped) continue;
        const int64_t to = next[part.positions[i]]++;
        out.ids[to] = ids[i];
        if (part.use_weights) {
          out.weights[to] = WeightAt(part.input->weights, i);
        }
      }
    });
  }
}

}  // namespace

void DropNegativeIds(PlacedIds& placed) {
  VisitIntegers(placed.input->ids, [&](const auto* ids) {
    for (size_t i = 0; i < placed.positions.size(); ++i) {
      if (ids[i] < 0) placed.positions[i] = PlacedIds::kDropped;
    }
  });
}

void GroupByPosition(Span<const PlacedIds> parts, FeatureBatch& out) {
  const Census census = Count(parts, out);
  if (census.in_order) {
    CopyInOrder(parts, census, out);
  } else {
    Scatter(parts, census, out);
  }
  if (census.one_each) out.offsets.clear();
}

}  // namespace tf_embed
