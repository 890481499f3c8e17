#include "virtual_tpu/topology.h"

#include <set>

#include "gtest/gtest.h"
#include "virtual_tpu/options.h"

namespace tf_embed::virtual_tpu {
namespace {

TEST(TopologyTest, Shape_IsThatOfTheRealSlices) {
  using Shape = std::array<int, 4>;
  EXPECT_EQ(MeshOf(1).shape, (Shape{1, 1, 1, 1}));
  EXPECT_EQ(MeshOf(2).shape, (Shape{1, 1, 1, 2}));
  EXPECT_EQ(MeshOf(4).shape, (Shape{2, 1, 1, 2}));
  EXPECT_EQ(MeshOf(8).shape, (Shape{2, 2, 1, 2}));
  EXPECT_EQ(MeshOf(32).shape, (Shape{4, 4, 1, 2}));
  EXPECT_EQ(MeshOf(7).shape, (Shape{7, 1, 1, 1}));
}

TEST(TopologyTest, Coordinates_EveryCoreHasItsOwnInsideOfTheMesh) {
  for (int n = 1; n <= kMaxCores; ++n) {
    const Mesh mesh = MeshOf(n);
    ASSERT_EQ(mesh.coordinates.size(), n);
    const std::set<std::array<int, 4>> different(mesh.coordinates.begin(),
                                                 mesh.coordinates.end());
    EXPECT_EQ(different.size(), n);
    for (const auto& coordinates : mesh.coordinates) {
      for (int i = 0; i < 4; ++i) {
        EXPECT_GE(coordinates[i], 0);
        EXPECT_LT(coordinates[i], mesh.shape[i]) << n << " cores";
      }
    }
  }
}

}  // namespace
}  // namespace tf_embed::virtual_tpu
