#ifndef TF_EMBED_TF_EMBED_LOOKUP_CUT_BY_COST_H_
#define TF_EMBED_TF_EMBED_LOOKUP_CUT_BY_COST_H_

#include <cstdint>

namespace tf_embed {

// The first i in [0, n] with cost_up_to(i) >= cost, or n. cost_up_to(i) is what
// the elements [0, i) cost; it does not decrease.
template <class CostUpTo>
int64_t FirstAtCost(int64_t n, int64_t cost, const CostUpTo& cost_up_to) {
  int64_t low = 0;
  int64_t high = n;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (cost_up_to(middle) < cost) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_CUT_BY_COST_H_
