# Sourced by NAME.sh: makes the environment NAME from NAME.txt, below $POLYSENSE_RIVALS or bench/out/rivals.
# PYTHON names another interpreter: the exact versions were measured with Python 3.11.
set -eu
name=$1
here=$(cd "$(dirname "$0")" && pwd)
place=${POLYSENSE_RIVALS:-$here/../out/rivals}/$name
"${PYTHON:-python3}" -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 11) else
  "the exact versions of '"$name"' are for Python 3.11, and this is %d.%d; name another: PYTHON=python3.11" % sys.version_info[:2])'
[ -x "$place/bin/python" ] || "${PYTHON:-python3}" -m venv "$place"
"$place/bin/pip" -q --disable-pip-version-check install --no-deps -r "$here/$name.txt"
"$place/bin/python" -c "import importlib.metadata as m; print('$place:', m.distribution('$2').name, m.version('$2'))"
