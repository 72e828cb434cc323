#!/bin/sh
# pytorch-widedeep 1.7.0 in an environment of its own (7 GB; torch as for AutoGluon). It calls a method of tokenizers that
# transformers 5 no longer has, so transformers stays below 5.
set -- widedeep pytorch-widedeep
. "$(dirname "$0")/environment.sh"
