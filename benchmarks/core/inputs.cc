#include "benchmarks/core/inputs.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <map>

namespace tf_embed {
namespace {

template <typename T>
Status ReadArray(const std::string& path, std::vector<T>& values) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return NotFound("cannot read ", path);
  values.resize(static_cast<size_t>(file.tellg()) / sizeof(T));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(T));
  return file ? OkStatus() : Internal("cannot read all of ", path);
}

// The constants are those of benchmarks/workloads.py.
StatusOr<OptimizerParams> ParamsOf(const std::string& optimizer) {
  const std::map<std::string, OptimizerParams> params = {
      {"none", std::monostate{}},
      {"sgd", SgdParams{}},
      {"adagrad", AdagradParams{}},
      {"adam", AdamParams{0.9f, 0.999f, 1e-7f, false, false}},
      {"ftrl", FtrlParams{0.01f, 0.01f, -0.5f, 0, false}},
  };
  const auto it = params.find(optimizer);
  if (it == params.end()) return NotFound("no optimizer '", optimizer, "'");
  return it->second;
}

}  // namespace

void Inputs::Fill(int64_t table, float* out) const {
  const float offset = table / 8.0f;
  for (int64_t i = 0; i < rows * dim;) {
    const int64_t n = std::min<int64_t>(base.size(), rows * dim - i);
    std::transform(base.begin(), base.begin() + n, out + i,
                   [offset](float value) { return value + offset; });
    i += n;
  }
}

Span<const int64_t> Inputs::ids(const BatchInput& input, int64_t table) const {
  const int64_t* const splits = input.splits.data() + table * (batch + 1);
  return Span<const int64_t>(input.ids.data() + splits[0],
                             splits[batch] - splits[0]);
}

Span<const float> Inputs::weights(const BatchInput& input,
                                  int64_t table) const {
  if (input.weights.empty()) return {};
  const int64_t* const splits = input.splits.data() + table * (batch + 1);
  return Span<const float>(input.weights.data() + splits[0],
                           splits[batch] - splits[0]);
}

std::vector<int64_t> Inputs::splits(const BatchInput& input,
                                    int64_t table) const {
  const int64_t* const begin = input.splits.data() + table * (batch + 1);
  std::vector<int64_t> result(begin, begin + batch + 1);
  for (int64_t& split : result) split -= *begin;
  return result;
}

StatusOr<Inputs> ReadInputs(const std::string& folder) {
  std::ifstream file(folder + "/setting.txt");
  std::map<std::string, std::string> values;
  std::string key, value;
  while (file >> key && std::getline(file >> std::ws, value)) {
    values[key] = value;
  }
  if (values.empty()) return NotFound("cannot read ", folder, "/setting.txt");
  Inputs inputs;
  inputs.tables = std::stoll(values["tables"]);
  inputs.rows = std::stoll(values["rows"]);
  inputs.dim = std::stoll(values["dim"]);
  inputs.batch = std::stoll(values["batch"]);
  inputs.mean = values["combiner"] == "mean";
  inputs.one_id = values["one_id"] == "1";
  inputs.threads = std::stoi(values["threads"]);
  TF_EMBED_ASSIGN_OR_RETURN(inputs.optimizer.params,
                            ParamsOf(values["optimizer"]));
  inputs.optimizer.learning_rate.constant = 0.01f;
  TF_EMBED_RETURN_IF_ERROR(ReadArray(folder + "/table.f32", inputs.base));
  TF_EMBED_RETURN_IF_ERROR(
      ReadArray(folder + "/gradients.f32", inputs.gradients));
  inputs.batches.resize(std::stoi(values["num_batches"]));
  for (size_t b = 0; b < inputs.batches.size(); ++b) {
    BatchInput& batch = inputs.batches[b];
    const std::string number = std::to_string(b);
    TF_EMBED_RETURN_IF_ERROR(
        ReadArray(folder + "/ids_" + number + ".i64", batch.ids));
    TF_EMBED_RETURN_IF_ERROR(
        ReadArray(folder + "/splits_" + number + ".i64", batch.splits));
    if (values["weighted"] == "1") {
      TF_EMBED_RETURN_IF_ERROR(
          ReadArray(folder + "/weights_" + number + ".f32", batch.weights));
    }
  }
  return inputs;
}

}  // namespace tf_embed
