#ifndef TF_EMBED_TF_EMBED_LOOKUP_CONTRIBUTIONS_H_
#define TF_EMBED_TF_EMBED_LOOKUP_CONTRIBUTIONS_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace tf_embed {

// A contribution says: add coefficient times the gradient of a bag to a row.
// The bags of all sources of a table are numbered through; one is:
struct Bag {
  const float* gradient;
  float scale;
};

// Three forms of a contribution, all with
//   Index                  a type for positions in an array of them
//   id(), bag()
//   coefficient(bags)
//   Make(id, bag, coefficient, order), where order grows with the place of the
//                          contribution in the sum
//   a < b                  by id, and for the same id by order

// Without weights: 8 bytes, sorted fast.
struct PlainContribution {
  using Index = uint32_t;
  static constexpr bool kSortsByDigits = true;

  static PlainContribution Make(uint64_t id, uint64_t bag,
                                float /*coefficient*/, uint64_t /*order*/) {
    return {id << 32 | bag};
  }
  uint64_t id() const { return key >> 32; }
  uint64_t bag() const { return static_cast<uint32_t>(key); }
  float coefficient(const Bag* bags) const { return bags[bag()].scale; }
  // Those of the same id in the same bag do not differ.
  bool operator<(const PlainContribution& other) const {
    return key < other.key;
  }

  uint64_t key;
};

// With weights.
struct WeightedContribution {
  using Index = uint32_t;
  static constexpr bool kSortsByDigits = true;

  static WeightedContribution Make(uint64_t id, uint64_t bag, float coefficient,
                                   uint64_t order) {
    return {id << 32 | bag, coefficient, static_cast<uint32_t>(order)};
  }
  uint64_t id() const { return key >> 32; }
  uint64_t bag() const { return static_cast<uint32_t>(key); }
  float coefficient(const Bag* /*bags*/) const { return factor; }
  bool operator<(const WeightedContribution& other) const {
    return key != other.key ? key < other.key : order < other.order;
  }

  uint64_t key;
  float factor;
  uint32_t order;
};

// Where rows, bags or contributions are too many for 32 bits.
struct WideContribution {
  using Index = uint64_t;
  static constexpr bool kSortsByDigits = false;

  static WideContribution Make(uint64_t id, uint64_t bag, float coefficient,
                               uint64_t order) {
    return {id, bag, order, coefficient};
  }
  uint64_t id() const { return id_; }
  uint64_t bag() const { return bag_; }
  float coefficient(const Bag* /*bags*/) const { return factor; }
  bool operator<(const WideContribution& other) const {
    return id_ != other.id_ ? id_ < other.id_ : order < other.order;
  }

  uint64_t id_;
  uint64_t bag_;
  uint64_t order;
  float factor;
};

// Sorts `n` contributions by id, keeping the order of those of the same id.
// Ids may differ in the bits [low_bit, high_bit) only. `spare` has room for n;
// returns where the result is, `contributions` or `spare`.
template <class Contribution>
Contribution* SortById(Contribution* contributions, Contribution* spare,
                       size_t n, int low_bit, int high_bit) {
  // Few contributions do not repay clearing and adding up histograms. An
  // estimate, not tuned.
  constexpr size_t kFewContributions = 64;
  if (!Contribution::kSortsByDigits || n <= kFewContributions) {
    std::sort(contributions, contributions + n);
    return contributions;
  }
  // Radix sort from the lowest digit. Few contributions take small digits, or
  // the histograms would dominate; more than 11 bits overflow level 1.
  constexpr int kMaxPasses = 4;
  constexpr int kMaxDigitBits = 11;
  const int num_bits = high_bit - low_bit;
  const int max_digit_bits = n < 1024 ? 8 : kMaxDigitBits;
  const int num_passes = (num_bits + max_digit_bits - 1) / max_digit_bits;
  if (num_passes == 0) return contributions;
  const int digit_bits = (num_bits + num_passes - 1) / num_passes;
  const size_t num_bins = size_t{1} << digit_bits;
  const uint64_t mask = num_bins - 1;
  static_assert(kMaxPasses * 8 >= 32);
  uint32_t bins[kMaxPasses][1 << kMaxDigitBits];
  for (int pass = 0; pass < num_passes; ++pass) {
    std::fill_n(bins[pass], num_bins, 0);
  }
  for (size_t i = 0; i < n; ++i) {
    uint64_t digits = contributions[i].id() >> low_bit;
    for (int pass = 0; pass < num_passes; ++pass) {
      ++bins[pass][digits & mask];
      digits >>= digit_bits;
    }
  }
  for (int pass = 0; pass < num_passes; ++pass) {
    uint32_t* const bin = bins[pass];
    uint32_t begin = 0;
    for (size_t b = 0; b < num_bins; ++b) {
      begin += std::exchange(bin[b], begin);
    }
    const int shift = low_bit + pass * digit_bits;
    for (size_t i = 0; i < n; ++i) {
      spare[bin[contributions[i].id() >> shift & mask]++] = contributions[i];
    }
    std::swap(contributions, spare);
  }
  return contributions;
}

// Finds the runs of equal ids in sorted contributions: run_begins[r] is where
// run r begins and run_begins[number of runs] is n. `run_begins` has room for
// n + 1. Returns the number of runs.
template <class Contribution>
size_t FindRuns(const Contribution* contributions, size_t n,
                typename Contribution::Index* run_begins) {
  using Index = typename Contribution::Index;
  size_t num_runs = 0;
  uint64_t previous = ~uint64_t{0};  // no id
  for (size_t i = 0; i < n; ++i) {
    // No branch, which would often be mispredicted.
    const uint64_t id = contributions[i].id();
    run_begins[num_runs] = static_cast<Index>(i);
    num_runs += id != previous;
    previous = id;
  }
  // The last write may have been one to a run that had begun before.
  run_begins[num_runs] = static_cast<Index>(n);
  return num_runs;
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_CONTRIBUTIONS_H_
