#!/bin/sh
# Builds the emulator's four libraries, and the headers that libnvrtc.so needs beside it, into a
# folder: build.sh OUT_DIR. CXX chooses the compiler: g++ 12 or later on x86-64 Linux.
#
# The sonames are those that programs ask for first, so that a library which was opened by its path
# also answers to its name.
set -e
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")"
build=$(cat *.cpp *.h build.sh | cksum | cut -d ' ' -f 1)

compile() {
    ${CXX:-g++} -std=c++17 -O2 -g1 -fPIC -fvisibility=hidden -Wall -Wextra -march=x86-64-v3 "$@"
}
library() { # NAME, then arguments
    name=$1
    shift
    compile -shared -Wl,-soname,"$name" -Wl,--no-undefined -Wl,-rpath,'$ORIGIN' -o "$out/$name" "$@"
}

# Files that do not need each other side by side; the slowest first.
objects=
jobs=
driver='driver_device driver_memory driver_launch stream module memory block warp checker fiber'
for file in $driver; do
    objects="$objects $out/$file.o"
    compile -c $file.cpp -o "$out/$file.o" &
    jobs="$jobs $!"
done
library libnvrtc.so -DEMULATOR_BUILD="$((build % 1000000))" nvrtc.cpp -ldl &
jobs="$jobs $!"
for file in matmul gemm; do
    compile -O3 -c $file.cpp -o "$out/$file.o" &
    jobs="$jobs $!"
done
for job in $jobs; do wait "$job"; done

library libcuda.so $objects -ldl -lpthread
library libcublas.so cublas.cpp "$out/matmul.o" "$out/gemm.o" "$out/libcuda.so" &
cublas=$!
library libcublasLt.so cublaslt.cpp "$out/matmul.o" "$out/gemm.o" "$out/libcuda.so"
wait $cublas
cp emulator.h intrinsics.h "$out"
rm $objects "$out/matmul.o" "$out/gemm.o"
