# Sourced by run.sh, versions.sh and .ci/run: where the runtimes are, and how one is installed.
environments="${ONNX_FFT_CONFORMANCE:-.cache/conformance}"
mkdir -p "$environments"
install_javascript() { # what package.json names, into node_modules
  cp scripts/conformance/package.json "$environments"
  # Without its install script onnxruntime-node fetches no libraries for GPUs; those for the CPU are in the package.
  npm install --prefix "$environments" --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error
}
make_venv() { # folder, options of pip install...
  [ -x "$environments/$1/bin/python" ] || "${PYTHON:-python3}" -m venv "$environments/$1"
  "$environments/$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}"
}
install_runtimes() { # all that the matrix runs
  install_javascript
  make_venv oldest --constraint tests/oldest.txt numpy onnxruntime
  make_venv openvino --requirement scripts/conformance/openvino.txt
}
