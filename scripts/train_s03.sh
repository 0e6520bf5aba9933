#!/usr/bin/env bash
# The published recipe in two stages: 0 on still images, then 3 on DAVIS and YouTube-VOS.
# Results: runs/NAME_s0 and runs/NAME_s03.
#   scripts/train_s03.sh NAME STATIC_ROOT DAVIS_ROOT YOUTUBE_ROOT
#       [further flags of train.py for both stages]
# Uses all GPUs of this machine (PROCESSES=N for another number).
# Repeat the command after a stop to resume.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 4 "$@"
name=$1
static_root=$(absolute "$2")
davis_root=$(absolute "$3")
youtube_root=$(absolute "$4")
shift 4
cd "$repository"
train_stage 0 "${name}_s0" --static_root "$static_root" "$@"
train_stage 3 "${name}_s03" --load_network "runs/${name}_s0/weights.pth" \
    --davis_root "$davis_root" --yv_root "$youtube_root" "$@"
