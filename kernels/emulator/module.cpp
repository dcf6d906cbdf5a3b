// Loading a kernel file: its constructors register the kernels, its symbols name the shared
// variables.
#include "module.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checker.h"

namespace emulator {

// What emulator_register adds to: the module whose constructors run. The driver's lock is held.
static Module* loading;

// A library's sections end with their table, so its size can be read off its header.
static size_t elf_size(const char* image) {
    Elf64_Ehdr header;
    memcpy(&header, image, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG)) return 0;
    return header.e_shoff + static_cast<size_t>(header.e_shnum) * header.e_shentsize;
}

static std::string demangled(const char* name) {
    char* plain = abi::__cxa_demangle(name, nullptr, nullptr, nullptr);
    const std::string result = plain ? plain : name;
    free(plain);
    return result;
}

// `__shared__` variables are `static` ones of functions: writable objects with a name "_ZZ...".
static std::vector<Region> shared_variables(const char* image, uintptr_t base) {
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
    const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image + header->e_shoff);
    std::vector<Region> variables;
    for (int s = 0; s < header->e_shnum; s++) {
        if (sections[s].sh_type != SHT_SYMTAB) continue;
        const auto* symbols = reinterpret_cast<const Elf64_Sym*>(image + sections[s].sh_offset);
        const char* names = image + sections[sections[s].sh_link].sh_offset;
        for (size_t i = 0; i < sections[s].sh_size / sizeof *symbols; i++) {
            const Elf64_Sym& symbol = symbols[i];
            const char* name = names + symbol.st_name;
            if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || strncmp(name, "_ZZ", 3) ||
                symbol.st_shndx >= header->e_shnum ||
                !(sections[symbol.st_shndx].sh_flags & SHF_WRITE))
                continue;
            Region region;
            region.begin = base + symbol.st_value;
            region.room = symbol.st_size;
            region.end = region.begin + region.room;
            region.shared = true;
            region.name = "shared variable " + demangled(name);
            variables.push_back(region);
        }
    }
    std::sort(variables.begin(), variables.end(),
              [](const Region& a, const Region& b) { return a.begin < b.begin; });
    return variables;
}

static uintptr_t image_end(const char* image, uintptr_t base) {
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image);
    const auto* segments = reinterpret_cast<const Elf64_Phdr*>(image + header->e_phoff);
    uintptr_t end = base;
    for (int i = 0; i < header->e_phnum; i++)
        if (segments[i].p_type == PT_LOAD)
            end = std::max(end, base + segments[i].p_vaddr + segments[i].p_memsz);
    return end;
}

std::unique_ptr<Module> load_module(const void* bytes) {
    const char* image = static_cast<const char*>(bytes);
    const size_t size = elf_size(image);
    auto module = std::make_unique<Module>();
    module->file = memfd_create("copla-kernels", MFD_CLOEXEC);
    for (size_t done = 0; done < size;) {
        const ssize_t n = write(module->file, image + done, size - done);
        if (n <= 0) return nullptr;
        done += static_cast<size_t>(n);
    }
    // By process and descriptor, the name is good for addr2line too.
    const std::string path = format("/proc/%d/fd/%d", getpid(), module->file);
    loading = module.get();
    module->handle = size ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
    loading = nullptr;
    if (!module->handle) {
        report(size ? dlerror() : "the module is not one that the emulated NVRTC has made");
        return nullptr;
    }
    link_map* map = nullptr;
    dlinfo(module->handle, RTLD_DI_LINKMAP, &map);
    checker_knows(module.get(), shared_variables(image, map->l_addr), map->l_addr,
                  image_end(image, map->l_addr));
    return module;
}

Module::~Module() {
    checker_forgets(this);
    if (handle) dlclose(handle);
    if (file >= 0) close(file);
}

}  // namespace emulator

using namespace emulator;

extern "C" EMULATOR_API void emulator_register(const char* name, Invoke invoke,
                                               const unsigned* sizes, int count, int most_threads,
                                               int checked) {
    if (!loading) return;
    auto function = std::make_unique<Function>();
    function->name = name;
    function->invoke = invoke;
    function->sizes.assign(sizes, sizes + count);
    function->most_threads = most_threads;
    function->checked = checked != 0;
    all_kernels_checked = all_kernels_checked && checked;
    loading->functions[name] = std::move(function);
}
