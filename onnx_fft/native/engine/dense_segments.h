// Where the segments of a dense plan lie in the tensors. A segment takes some tiles of one line, which runs along the
// last axis; lines are counted by image, and by tile and residue along the first two axes.
#pragma once

#include <algorithm>

#include "engine/dense_layout.h"

namespace onnx_fft {

class DenseSegments {
 public:
  DenseSegments(const DensePlan& plan, const DenseSpectra& spectra)
      : plan_(plan), spectra_(spectra), a_(plan.axes), a_line_(ceil_divide(a_[2].tiles, plan.segment)) {}

  int64_t count() const { return plan_.lines() * a_line_; }

  // Tiles before those of a segment.
  int64_t first_tile(int64_t segment) const {
    return segment / a_line_ * plan_.line_tiles() + first_in_line(segment % a_line_) * a_[2].residues;
  }

  // Reals of scratch that the largest segment needs.
  int64_t scratch_reals() const {
    DenseSegment s{};
    for (int axis = 0; axis < kMaxRank; ++axis) s.length[axis] = static_cast<int>(a_[axis].length);
    s.span = (plan_.segment * a_[2].step + a_[2].length) * std::max(a_[2].input_step(), a_[2].output_step()) +
             a_[2].stride + a_[2].residues;
    s.count = static_cast<int>(plan_.segment * a_[2].residues * a_[2].polyphase);
    return dense_scratch_reals(s, spectra_.lanes);
  }

  // Calls `body(segment, offset)` for each polyphase component along the first two axes of a vector of channels; the
  // plane of its first channel begins at element `offset`. Spectra begin with row `tile`.
  template <typename Body>
  void each_input(int64_t segment, int64_t tile, int64_t group, int64_t block, const Body& body) const {
    const Line line = find_line(segment);
    DenseSegment s = make_segment(block, plan_.in_channels);
    for (int axis = 0; axis < kMaxRank; ++axis) {
      s.extent[axis] = a_[axis].extent;
      s.spacing[axis] = a_[axis].input_step();
      s.samples[axis] = a_[axis].length;
    }
    s.plane = s.extent[0] * s.extent[1] * s.extent[2];
    const int64_t step = a_[2].step * s.spacing[2], first = line.tile[2] * step - a_[2].pad;
    s.origin[2] = first;
    for (int64_t p0 = 0, component = 0; p0 < a_[0].polyphase; ++p0) {
      for (int64_t p1 = 0; p1 < a_[1].polyphase; ++p1) {
        const int64_t offsets[] = {p0 * a_[0].polyphase_step, p1 * a_[1].polyphase_step};
        for (int axis = 0; axis < 2; ++axis) {
          s.origin[axis] =
              line.tile[axis] * a_[axis].step * s.spacing[axis] + line.residue[axis] + offsets[axis] - a_[axis].pad;
        }
        s.count = 0;
        for (int64_t p2 = 0; p2 < a_[2].polyphase; ++p2, ++component) {
          const int64_t input = component * plan_.in_channels + block * spectra_.lanes;
          add_windows(line, step, p2 * a_[2].polyphase_step, tile * spectra_.in_row() + input, spectra_.in_row(), s);
        }
        s.span = s.windows[s.count - 1].start + (s.length[2] - 1) * s.spacing[2] + 1;
        body(s, (line.image * plan_.group * plan_.in_channels + group * plan_.in_channels + block * spectra_.lanes) *
                    s.plane);
      }
    }
  }

  DenseSegment output(int64_t segment, int64_t tile, int64_t group, int64_t block, int64_t* offset) const {
    const Line line = find_line(segment);
    DenseSegment s = make_segment(block, plan_.out_channels);
    for (int axis = 0; axis < kMaxRank; ++axis) {
      s.extent[axis] = a_[axis].outputs;
      s.spacing[axis] = a_[axis].output_step();
      s.origin[axis] = line.tile[axis] * a_[axis].step * s.spacing[axis] + (axis < 2 ? line.residue[axis] : 0);
      const int64_t left = std::max<int64_t>(0, ceil_divide(s.extent[axis] - s.origin[axis], s.spacing[axis]));
      s.samples[axis] = axis < 2 ? std::min(a_[axis].step, left) : a_[axis].step;
    }
    s.plane = s.extent[0] * s.extent[1] * s.extent[2];
    add_windows(line, a_[2].step * s.spacing[2], 0, tile * spectra_.out_row() + block * 2 * spectra_.lanes,
                spectra_.out_row(), s);
    s.span = s.windows[s.count - 1].start + (s.samples[2] - 1) * s.spacing[2] + 1;
    *offset = ((line.image * plan_.group + group) * plan_.out_channels + block * spectra_.lanes) * s.plane;
    return s;
  }

 private:
  struct Line {
    int64_t image, tile[kMaxRank], residue[2];
    int64_t tiles;  // of the segment
  };

  int64_t first_in_line(int64_t segment) const { return a_[2].tiles * segment / a_line_; }

  Line find_line(int64_t segment) const {
    Line line;
    const int64_t in_line = segment % a_line_;
    line.tile[2] = first_in_line(in_line);
    line.tiles = first_in_line(in_line + 1) - line.tile[2];
    int64_t rest = segment / a_line_;
    for (int axis = 1; axis >= 0; --axis) {
      line.residue[axis] = rest % a_[axis].residues;
      line.tile[axis] = rest / a_[axis].residues % a_[axis].tiles;
      rest /= a_[axis].residues * a_[axis].tiles;
    }
    line.image = rest;
    return line;
  }

  DenseSegment make_segment(int64_t block, int64_t channels) const {
    DenseSegment s;
    for (int axis = 0; axis < kMaxRank; ++axis) s.length[axis] = static_cast<int>(a_[axis].length);
    s.channels = static_cast<int>(std::min(spectra_.lanes, channels - block * spectra_.lanes));
    s.count = 0;
    return s;
  }

  // The tiles of the line, residue by residue, `step` samples apart.
  void add_windows(const Line& line, int64_t step, int64_t start, int64_t spectrum, int64_t row,
                   DenseSegment& s) const {
    for (int64_t tile = 0; tile < line.tiles; ++tile) {
      for (int64_t residue = 0; residue < a_[2].residues; ++residue, spectrum += row) {
        s.windows[s.count++] = {start + tile * step + residue, spectrum};
      }
    }
  }

  const DensePlan& plan_;
  const DenseSpectra& spectra_;
  const AxisPlan* const a_;
  const int64_t a_line_;  // segments of a line
};

}  // namespace onnx_fft
