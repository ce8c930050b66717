// Rates that are shipped, and rates in files.
#pragma once

#include <string>

#include "planner/work.h"

namespace onnx_fft {

// Those shipped for a maker, "amd" or "intel" (any other counts as that), and vectors of so many bytes.
Rates shipped_rates(const std::string& maker, int vector_bytes);

// Those in a profile: lines of a unit's name and its seconds, all units; lines that begin with '#' say what else.
// Throws std::runtime_error if it cannot be read, or is not all of that.
Rates read_profile(const std::string& path);

}  // namespace onnx_fft
