# Functions of the recipes train_*.sh. A recipe runs its stages on all GPUs of this machine, or in
# one process on the CPU. A finished stage is skipped and a stopped one resumes, so that the same
# command can be repeated until everything is done.
python=${PYTHON:-python}

# train_stage STAGE RUN_ID [flags of train.py]: in the repository's root
train_stage() {
    local stage=$1 run_id=$2
    shift 2
    if [ -e "runs/$run_id/weights.pth" ]; then
        echo "runs/$run_id is finished"
        return
    fi
    PROCESSES=${PROCESSES:-$("$python" -c 'import torch; print(max(torch.cuda.device_count(), 1))')}
    "$python" -m torch.distributed.run --standalone --nproc_per_node="$PROCESSES" \
        train.py --stage "$stage" --id "$run_id" --load_model auto "$@"
}

# usage_if_fewer_than COUNT "$@": ends with the comment at the head of the calling script if there
# are fewer arguments
usage_if_fewer_than() {
    if [ $(($# - 1)) -lt "$1" ]; then
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
        exit 2
    fi
}

# absolute FOLDER: its absolute path, which stays valid after cd
absolute() {
    if [ ! -d "$1" ]; then
        echo "error: $1: no such folder" >&2
        return 2
    fi
    realpath "$1"
}

# begin_small_recipe "$@": from DAVIS_ROOT STATIC_ROOT NAME, sets `name` and the flags that the
# recipes of the small networks share: `recipe`, and `per_clip` for per-clip training
begin_small_recipe() {
    usage_if_fewer_than 3 "$@"
    local davis static
    davis=$(absolute "$1") || exit
    static=$(absolute "$2") || exit
    name=$3
    recipe=(--davis_root "$davis" --static_root "$static" --amp bf16 --cache_megabytes 3000
        --mix video=0.4 static=0.25 synthetic=0.35)
    per_clip=(--frames 7 --clip_frames 3 --set dice_weight=1.0)
}
