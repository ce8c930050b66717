// Many clients at once on one session of an ONNX model in ONNX Runtime's C interface, with the native library of
// onnx-fft or without it:
//
//     load_model MODEL SHAPE INPUTS OUTPUTS CLIENTS [LIBRARY]
//     echo 500 500 | load_model native.onnx 32x1024 x.bin y.bin 8 libonnx_fft.so
//
// Each client is a thread that asks again as soon as it has its answer, and sends its share of the requests; each run
// has one thread. Standard input says how many requests there are, any number of times. INPUTS holds an input
// for each client, OUTPUTS gets the first answer that each got: raw float32 numbers. A line of JSON says how long each
// request took, how long all took together, what the process held in memory meanwhile, and how many answers were not
// bit for bit the client's first. build.sh builds the program.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "ort_session.h"

namespace {

constexpr long kSampleEvery = 10;  // requests between two looks at the memory

using Clock = std::chrono::steady_clock;

struct Load {
  std::atomic<bool> is_over{false};  // because a request failed
  std::mutex lock;                   // of what follows
  std::vector<double> seconds;
  std::vector<long> held_bytes;
  long different = 0;
  std::exception_ptr error;
};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// What the process holds in memory; 0 if the system does not say.
long read_held_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmRSS:", 0) == 0) return std::stol(line.substr(6)) * 1024;
  }
  return 0;
}

void ask(Load& load, OrtSession* session, const Names& names, const OrtValue* x, Tensor& first) {
  const auto start = Clock::now();
  const Tensor answer = copy_tensor(run_once(session, names, x).get());
  const double taken = seconds_since(start);
  if (first.values.empty()) first = answer;
  const bool same = answer.shape == first.shape &&
                    std::memcmp(answer.values.data(), first.values.data(), answer.values.size() * sizeof(float)) == 0;
  const std::lock_guard<std::mutex> held(load.lock);
  load.seconds.push_back(taken);
  load.different += same ? 0 : 1;
  if (static_cast<long>(load.seconds.size()) % kSampleEvery == 0) load.held_bytes.push_back(read_held_bytes());
}

void serve_client(Load& load, OrtSession* session, long requests, Tensor& input, Tensor& first) {
  try {
    const Names names = read_names(session);
    const auto x = wrap_tensor(input);
    for (long sent = 0; sent < requests && !load.is_over; ++sent) ask(load, session, names, x.get(), first);
  } catch (...) {
    load.is_over = true;
    const std::lock_guard<std::mutex> held(load.lock);
    load.error = std::current_exception();
  }
}

template <typename T>
std::string list(const std::vector<T>& values) {
  std::string text;
  for (const T value : values) text += (text.empty() ? "" : ",") + std::to_string(value);
  return "[" + text + "]";
}

// One round of requests; returns how long it took.
double serve_clients(Load& load, OrtSession* session, long requests, std::vector<Tensor>& inputs,
                     std::vector<Tensor>& first) {
  std::vector<std::thread> threads;
  const auto start = Clock::now();
  for (size_t client = 0; client < inputs.size(); ++client) {
    const long share = requests / static_cast<long>(inputs.size());
    threads.emplace_back(serve_client, std::ref(load), session, share, std::ref(inputs[client]),
                         std::ref(first[client]));
  }
  for (std::thread& thread : threads) thread.join();
  if (load.error) std::rethrow_exception(load.error);
  return seconds_since(start);
}

void load_model(const char* model, const char* shape, const char* inputs_path, const char* outputs_path, size_t clients,
                const char* library) {
  const std::string version = find_ort();
  std::vector<Tensor> inputs = read_tensors(inputs_path, parse_shape(shape), clients);
  std::vector<Tensor> first(clients);
  const auto env = make(ort->ReleaseEnv, ort->CreateEnv, ORT_LOGGING_LEVEL_WARNING, "load_model");
  const auto session = open_session(env.get(), model, library, 1);
  for (long requests = 0; std::cin >> requests;) {
    Load load;
    const double wall_s = serve_clients(load, session.get(), requests, inputs, first);
    std::vector<float> outputs;
    for (const Tensor& each : first) outputs.insert(outputs.end(), each.values.begin(), each.values.end());
    write_values(outputs_path, outputs);
    std::printf("{\"version\":\"%s\",\"wall_s\":%f,\"different\":%ld,\"seconds\":%s,\"held_bytes\":%s}\n",
                version.c_str(), wall_s, load.different, list(load.seconds).c_str(), list(load.held_bytes).c_str());
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6 && argc != 7) {
    std::fprintf(stderr, "usage: load_model MODEL SHAPE INPUTS OUTPUTS CLIENTS [LIBRARY]\n");
    return 2;
  }
  try {
    load_model(argv[1], argv[2], argv[3], argv[4], std::stoul(argv[5]), argc == 7 ? argv[6] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "load_model: %s\n", error.what());
    return 1;
  }
  return 0;
}
