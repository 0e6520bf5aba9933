#!/usr/bin/env bash
# Segment the sample clip, or a video of your own from the mask of its first frame.
#   scripts/demo.sh [FLAGS]              the sample clip, and its score
#   scripts/demo.sh VIDEO MASK [FLAGS]   VIDEO: a video file or a folder of frames
#                                        MASK: an indexed PNG of object ids, or a folder of them
# FLAGS: --output DIR (default: results/demo in the repository), and all flags of eval_generic.py.
# Packages come from .venv, which is created on the first run; PYTHON=/path/to/python uses that
# interpreter instead.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

refuse() {
    echo "error: $1" >&2
    exit 2
}

case "${1:-}" in
    -h | --help)
        sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    "" | -*)
        video=$root/scripts/sample/JPEGImages/sample
        sample=$root/scripts/sample
        request=(--data_path "$sample" --truth "$sample/Truth" --resolution -1)
        ;;
    *)
        video=$1 mask=${2:-}
        # checked before packages are downloaded for nothing
        [ -n "$mask" ] && [ "${mask#-}" = "$mask" ] ||
            refuse "$video: its mask is missing; scripts/demo.sh VIDEO MASK"
        [ -e "$video" ] || refuse "$video: no such video; give a video file or a folder of frames"
        [ -e "$mask" ] ||
            refuse "$mask: no such mask; give an indexed PNG of object ids, or a folder of them"
        request=(--video "$video" --mask "$mask")
        shift 2
        ;;
esac
output=$root/results/demo
flags=()
while [ $# -gt 0 ]; do
    case "$1" in
        --output=*) output=${1#*=} ;;
        --output)
            [ $# -gt 1 ] || refuse "--output: name a folder"
            output=$2
            shift
            ;;
        *) flags+=("$1") ;;
    esac
    shift
done

caller=$PWD
cd "$root"
source scripts/_environment.sh requirements.txt
cd "$caller" # paths on the command line are the caller's

# Each run replaces what an earlier one left under this name.
"$PYTHON" "$root/eval_generic.py" "${request[@]}" --output "$output" --overlay --overwrite \
    ${flags[@]+"${flags[@]}"}

result_name='
import pathlib, sys
path = pathlib.Path(sys.argv[1]).resolve()
print(path.name if path.is_dir() else path.stem)
'
name=$("$PYTHON" -I -c "$result_name" "$video")
echo
echo "masks:   $output/$name"
overlay=$output/overlays/$name.mp4
[ -e "$overlay" ] || overlay=${overlay%.mp4}.webm
echo "overlay: $overlay (opens in a browser)"
echo "sheet:   $output/overlays/$name.png"
if [ -e "$output/scores.json" ]; then
    echo "scores:  $output/scores.json"
fi
