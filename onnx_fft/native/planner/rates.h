// Rates that are shipped, and rates in files.
#pragma once

#include <string>

#include "planner/work.h"

namespace onnx_fft {

// What the probes of engine/probe.cpp give: seconds of one core for a flop of a tile's DFT, a flop of a product, a flop
// and a sample of a tile that is summed directly, and a byte that is copied.
struct Probes {
  double transform, product, direct_flops, direct_samples, bytes;
};

// A machine whose rates are shipped, and what the probes gave there.
struct ProbedMachine {
  int vector_bytes;
  Rates rates;
  Probes probes;
};

// The one whose vectors are most like these.
ProbedMachine probed_machine(int vector_bytes);

// Those shipped for a maker, "amd" or "intel" (any other counts as that), and vectors of so many bytes.
Rates shipped_rates(const std::string& maker, int vector_bytes);

// Those in a profile: lines of a unit's name and its seconds, all units; lines that begin with '#' say what else.
// Throws std::runtime_error if it cannot be read, or is not all of that.
Rates read_profile(const std::string& path);

}  // namespace onnx_fft
