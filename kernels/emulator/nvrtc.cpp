// libnvrtc: compiles a kernel file with g++ into a shared library, whose bytes are its CUBIN.
//
// The source and its headers are written to a folder of their own and preprocessed; in what comes
// out each `extern "C"` kernel is found by the marks of emulator.h, and a line is appended that
// registers it; that is compiled. Functions and options are NVIDIA's ("NVRTC" in the CUDA
// documentation), and one option of our own: --checked instruments the kernels for the checker.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

enum Result : int {
    SUCCESS = 0,
    PROGRAM_CREATION_FAILURE = 2,
    INVALID_INPUT = 3,
    INVALID_PROGRAM = 4,
    INVALID_OPTION = 5,
    COMPILATION = 6,
};
const char* const NAMES[] = {
    "NVRTC_SUCCESS",
    "NVRTC_ERROR_OUT_OF_MEMORY",
    "NVRTC_ERROR_PROGRAM_CREATION_FAILURE",
    "NVRTC_ERROR_INVALID_INPUT",
    "NVRTC_ERROR_INVALID_PROGRAM",
    "NVRTC_ERROR_INVALID_OPTION",
    "NVRTC_ERROR_COMPILATION",
};

struct File {
    std::string name, text;
};

struct Program {
    File source;
    std::vector<File> headers;
    std::string log, library;
};

// ---- files and commands ----------------------------------------------------------------------

// A folder that goes when its owner does.
class Folder {
public:
    Folder() {
        const char* parent = getenv("TMPDIR");
        path = std::string(parent && *parent ? parent : "/tmp") + "/copla-nvrtc-XXXXXX";
        if (!mkdtemp(&path[0])) path.clear();
    }
    ~Folder() {
        for (const std::string& file : files) unlink(file.c_str());
        if (!path.empty()) rmdir(path.c_str());
    }
    // The path of a file in it that is deleted with it.
    std::string file(const std::string& name) {
        files.push_back(path + "/" + name);
        return files.back();
    }
    std::string path;

private:
    std::vector<std::string> files;
};

bool write_file(const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
    return static_cast<bool>(file.flush());
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

std::string quoted(const std::string& word) {
    std::string result = "'";
    for (char c : word) result += c == '\'' ? "'\\''" : std::string(1, c);
    return result + "'";
}

// What the command says goes to the log.
bool run(const std::string& command, std::string& log) {
    FILE* output = popen((command + " 2>&1").c_str(), "r");
    if (!output) return false;
    char part[4096];
    while (const size_t n = fread(part, 1, sizeof part, output)) log.append(part, n);
    return pclose(output) == 0;
}

// The folder that this library, libcuda.so and emulator.h lie in.
std::string home() {
    Dl_info self;
    if (!dladdr(reinterpret_cast<void*>(&home), &self)) return ".";
    const std::string path = self.dli_fname;
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

// ---- options ---------------------------------------------------------------------------------

struct Options {
    std::string arguments;  // for g++
    bool checked = false;
};

bool starts_with(const std::string& text, const char* head) { return text.rfind(head, 0) == 0; }

// False, with a line in the log, for an option that is none of NVRTC's that matter to kernels.
bool read_option(const std::string& option, Options& options, std::string& log) {
    const size_t equals = option.find('=');
    const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
    if (option == "--checked") options.checked = true;
    else if (starts_with(option, "--gpu-architecture=") || starts_with(option, "-arch="))
        options.arguments += " -D__CUDA_ARCH__=" + value.substr(value.find('_') + 1) + "0";
    else if (starts_with(option, "--std=") || starts_with(option, "-std="))
        options.arguments += " -std=" + value;
    else if (starts_with(option, "-D") || starts_with(option, "-I"))
        options.arguments += " " + quoted(option);
    else if (starts_with(option, "--define-macro=")) options.arguments += " -D" + quoted(value);
    else if (starts_with(option, "--include-path=")) options.arguments += " -I" + quoted(value);
    else if (option != "-default-device" && option != "--device-as-default-execution-space" &&
             option != "-lineinfo" && option != "--generate-line-info" &&
             !starts_with(option, "--fmad=") && !starts_with(option, "--ptxas-options=")) {
        log += "emulated NVRTC: unknown option " + option + "\n";
        return false;
    }
    return true;
}

std::string flags_of(const Options& options) {
    std::string flags =
        "-std=c++17 -march=x86-64-v3 -ffp-contract=off -fPIC -fvisibility=hidden -fno-gnu-unique "
        "-fno-strict-aliasing -fno-threadsafe-statics -fno-exceptions -fno-rtti -g1 -w";
    flags += options.checked
                 ? " -O1 -fsanitize=thread,bounds,alignment,shift,integer-divide-by-zero"
                 : " -O2";
    return flags + options.arguments;
}

// ---- kernels ---------------------------------------------------------------------------------

// In preprocessed text a kernel reads
//     extern "C" __attribute__((emulator_kernel)) void __attribute__((emulator_threads(256))) name(
// and the line that registers it is made of its name and its number of threads.
std::string registrations(const std::string& text) {
    const std::string mark = "__attribute__((emulator_kernel))", bounds = "emulator_threads(";
    constexpr const char* SPACE = " \t\n";
    std::string lines;
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
        const size_t before = text.find_last_not_of(SPACE, at - 1);
        if (before == std::string::npos || text.compare(before - 2, 3, "\"C\"")) continue;
        const size_t brace = text.find_first_of("{;", at);
        if (brace == std::string::npos || text[brace] == ';') continue;

        std::string head = text.substr(at + mark.size(), brace - at - mark.size());
        std::string threads = "1024";
        const size_t bound = head.find(bounds);
        if (bound != std::string::npos) {
            size_t end = bound + bounds.size();
            for (int depth = 1; depth > 0; end++)
                depth += head[end] == '(' ? 1 : head[end] == ')' ? -1 : 0;
            threads = head.substr(bound + bounds.size(), end - 1 - bound - bounds.size());
            head = head.substr(head.find_first_not_of(")", end));
        }
        const size_t open = head.find('(');
        const size_t last = head.find_last_not_of(SPACE, open - 1);
        const size_t first = head.find_last_of(" \t\n*)", last) + 1;
        const std::string name = head.substr(first, last + 1 - first);
        lines += "static emulator::Registration<&" + name + "> emulator_registers_" + name + "{\"" +
                 name + "\", " + threads + "};\n";
    }
    return lines;
}

Result compile(Program& program, const Options& options) {
    Folder folder;
    if (folder.path.empty()) {
        program.log += "emulated NVRTC: no temporary folder can be made\n";
        return COMPILATION;
    }
    const std::string source = folder.file(program.source.name);
    bool written = write_file(source, program.source.text);
    for (const File& header : program.headers)
        written = written && write_file(folder.file(header.name), header.text);

    const char* chosen = getenv("CXX");
    const std::string compiler = chosen && *chosen ? chosen : "g++", home_folder = home();
    const std::string flags = flags_of(options);
    const std::string in_folder = "cd " + quoted(folder.path) + " && " + compiler + " " + flags;
    const std::string preprocessed = folder.file("preprocessed.ii"),
                      library = folder.file("library.so");

    written = written && run(in_folder + " -D__CUDACC_RTC__ -I. -I" + quoted(home_folder) +
                                 " -include emulator.h -E -x c++ " + quoted(program.source.name) +
                                 " -o preprocessed.ii",
                             program.log);
    if (!written) return COMPILATION;
    const std::string text = read_file(preprocessed);
    if (!write_file(preprocessed, text + "\n" + registrations(text))) return COMPILATION;
    // Linked without the option that would add g++'s own race checker.
    const std::string object = quoted(folder.file("kernels.o"));
    const bool compiled =
        run(in_folder + " -c -x c++-cpp-output preprocessed.ii -o " + object, program.log) &&
        run(compiler + " -shared -Wl,--no-undefined " + object + " " +
                quoted(home_folder + "/libcuda.so") + " -lm -o " + quoted(library),
            program.log);
    if (compiled) program.library = read_file(library);
    return compiled ? SUCCESS : COMPILATION;
}

Program* program_of(void* handle) { return static_cast<Program*>(handle); }

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

const char* nvrtcGetErrorString(int result) {
    const int count = sizeof NAMES / sizeof NAMES[0];
    return result >= 0 && result < count ? NAMES[result] : "NVRTC_ERROR unknown";
}

// The minor version tells this build of the emulator from others: what is compiled by one is never
// taken out of a cache for another. The two modes are told apart by their option.
int nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = EMULATOR_BUILD;
    return SUCCESS;
}

static const int ARCHITECTURES[] = {60, 61, 70, 72, 75, 80, 86, 87, 89, 90};
constexpr int ARCHITECTURE_COUNT = sizeof ARCHITECTURES / sizeof ARCHITECTURES[0];

int nvrtcGetNumSupportedArchs(int* count) {
    *count = ARCHITECTURE_COUNT;
    return SUCCESS;
}

int nvrtcGetSupportedArchs(int* architectures) {
    memcpy(architectures, ARCHITECTURES, sizeof ARCHITECTURES);
    return SUCCESS;
}

int nvrtcCreateProgram(void** handle, const char* source, const char* name, int count,
                       const char* const* headers, const char* const* names) {
    if (!handle || !source || count < 0) return INVALID_INPUT;
    auto* program = new Program;
    program->source = {name && *name ? name : "default_program", source};
    for (int i = 0; i < count; i++) program->headers.push_back({names[i], headers[i]});
    *handle = program;
    return SUCCESS;
}

int nvrtcDestroyProgram(void** handle) {
    if (!handle || !*handle) return INVALID_PROGRAM;
    delete program_of(*handle);
    *handle = nullptr;
    return SUCCESS;
}

int nvrtcCompileProgram(void* handle, int count, const char* const* options) {
    if (!handle) return INVALID_PROGRAM;
    Program& program = *program_of(handle);
    Options read;
    for (int i = 0; i < count; i++)
        if (!read_option(options[i], read, program.log)) return INVALID_OPTION;
    return compile(program, read);
}

int nvrtcGetCUBINSize(void* handle, size_t* size) {
    if (!handle) return INVALID_PROGRAM;
    *size = program_of(handle)->library.size();
    return SUCCESS;
}

int nvrtcGetCUBIN(void* handle, char* bytes) {
    if (!handle || program_of(handle)->library.empty()) return INVALID_PROGRAM;
    const std::string& library = program_of(handle)->library;
    memcpy(bytes, library.data(), library.size());
    return SUCCESS;
}

int nvrtcGetProgramLogSize(void* handle, size_t* size) {
    if (!handle) return INVALID_PROGRAM;
    *size = program_of(handle)->log.size() + 1;
    return SUCCESS;
}

int nvrtcGetProgramLog(void* handle, char* log) {
    if (!handle) return INVALID_PROGRAM;
    strcpy(log, program_of(handle)->log.c_str());
    return SUCCESS;
}

// There is no PTX: copla compiles for the card that it runs on.
int nvrtcGetPTXSize(void*, size_t* size) {
    *size = 0;
    return INVALID_PROGRAM;
}
int nvrtcGetPTX(void*, char*) { return INVALID_PROGRAM; }
}
#pragma GCC visibility pop
