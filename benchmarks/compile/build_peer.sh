#!/bin/sh
# Build the peer of this benchmark, llama.cpp's converter and quantizer, from the llama-cpp-python source package.
# Usage: build_peer.sh FOLDER; then: export EDGEC_LLAMA_CPP=FOLDER/llama.cpp
# Needs cmake and a C++ compiler; the converter runs with the `reference` extra of edgec (torch, transformers).
set -eu

version=0.3.36
folder=${1:?usage: build_peer.sh FOLDER}
mkdir -p "$folder"
cd "$folder"

[ -f "llama_cpp_python-$version.tar.gz" ] ||
    python -m pip download --no-deps --no-binary llama-cpp-python "llama-cpp-python==$version" -d .
tar -xzf "llama_cpp_python-$version.tar.gz"
rm -rf llama.cpp
mv "llama_cpp_python-$version/vendor/llama.cpp" llama.cpp

# The instruction set xllamacpp's wheels are built for: other vector widths add in another order, giving other bytes.
cmake -S llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON \
    -DGGML_BMI2=ON -DBUILD_SHARED_LIBS=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DLLAMA_OPENSSL=OFF
cmake --build build --target llama-quantize llama-imatrix -j "$(getconf _NPROCESSORS_ONLN)"
ln -sfn ../build/bin llama.cpp/bin
echo "llama.cpp of llama-cpp-python $version" > llama.cpp/PEER_VERSION
echo "export EDGEC_LLAMA_CPP=$(pwd)/llama.cpp"
