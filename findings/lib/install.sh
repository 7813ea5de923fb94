# Sourced by a finding, with PACKAGE==VERSION...: installs them in a folder that is removed at the
# end, and lets Python find them and this folder's graphs.py.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m pip install --quiet --target "$folder" "$@"
export PYTHONPATH="$folder:$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
