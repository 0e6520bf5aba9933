#!/usr/bin/env bash
# The published recipe with BL30K, in three stages: 0 on still images, 1 on BL30K, 2 on DAVIS and
# YouTube-VOS. Results: runs/NAME_s0, runs/NAME_s01 and runs/NAME_s012.
#   scripts/train_s012.sh NAME STATIC_ROOT BL30K_ROOT DAVIS_ROOT YOUTUBE_ROOT
#       [further flags of train.py for all stages]
# Uses all GPUs of this machine (PROCESSES=N for another number).
# Repeat the command after a stop to resume.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 5 "$@"
name=$1
static_root=$(absolute "$2")
bl_root=$(absolute "$3")
davis_root=$(absolute "$4")
youtube_root=$(absolute "$5")
shift 5
cd "$repository"
train_stage 0 "${name}_s0" --static_root "$static_root" "$@"
train_stage 1 "${name}_s01" --load_network "runs/${name}_s0/weights.pth" --bl_root "$bl_root" "$@"
train_stage 2 "${name}_s012" --load_network "runs/${name}_s01/weights.pth" \
    --davis_root "$davis_root" --yv_root "$youtube_root" "$@"
