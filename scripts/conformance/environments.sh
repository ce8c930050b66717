# Sourced by run.sh and versions.sh: where the runtimes are, and how a virtual environment for one is made.
environments="${ONNX_FFT_CONFORMANCE:-.cache/conformance}"
mkdir -p "$environments"
make_venv() { # folder, options of pip install...
  [ -x "$environments/$1/bin/python" ] || "${PYTHON:-python3}" -m venv "$environments/$1"
  "$environments/$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}"
}
