#!/bin/sh
# AutoGluon MultiModal 1.6.3 in an environment of its own (7 GB). It needs torchvision, which PyPI has for the CUDA build of
# torch only, so that build comes with it; it runs on a CPU. The two towers come from the packages that polysense uses.
set -- autogluon autogluon.multimodal
. "$(dirname "$0")/environment.sh"
