#!/bin/sh
# LightGBM 4.7.0 in an environment of its own (0.3 GB).
set -- lightgbm lightgbm
. "$(dirname "$0")/environment.sh"
