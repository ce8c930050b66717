// Operators new and delete of this library's own, which no other one sees: for a linker that cannot keep those of the
// C++ library it links in from being exported, and then used by the whole process. They do what the standard's do, and
// are hidden by an option of the compiler, since they are declared before any line of this file.
#if defined(ONNX_FFT_PRIVATE_NEW)

#include <cstdlib>
#include <new>

void* operator new(std::size_t bytes) {
  if (void* block = std::malloc(bytes > 0 ? bytes : 1)) return block;
  throw std::bad_alloc();
}

void* operator new(std::size_t bytes, std::align_val_t alignment) {
  void* block = nullptr;
  const std::size_t least = static_cast<std::size_t>(alignment);
  if (posix_memalign(&block, least < sizeof(void*) ? sizeof(void*) : least, bytes > 0 ? bytes : 1) == 0) return block;
  throw std::bad_alloc();
}

void* operator new[](std::size_t bytes) { return operator new(bytes); }
void* operator new[](std::size_t bytes, std::align_val_t alignment) { return operator new(bytes, alignment); }

void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, std::size_t) noexcept { std::free(block); }
void operator delete(void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t) noexcept { std::free(block); }
void operator delete[](void* block, std::align_val_t) noexcept { std::free(block); }
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { std::free(block); }

#endif
