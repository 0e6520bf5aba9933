"""The data sets that the readers know: what they are, how large, their licence, and where from.

What is not stated on a page that was read is None, and --list says so. Read in November 2026.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_GIGABYTE = 1e9
_COLUMNS = 100


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one archive of a data set holds, and where the readers expect it.

    file: as the authors name the archive; None if that is unknown. into: the folder below the data
    set's root. holds: what the folder must hold, which also finds it inside the archive.
    url: a direct link; None if there is none. size: of the archive in bytes; None if unknown.
    sha256: None if the authors publish none.
    """

    name: str
    into: str
    holds: Sequence[str] = ("JPEGImages", "Annotations")
    file: str | None = None
    url: str | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set. what: its content. size: of all, in words. page: where its authors publish it.

    licence, size: None if the sources do not state it. sources: the pages that were read.
    reader: the flags that read it. hint: what else a reader needs, for the user.
    """

    name: str
    what: str
    size: str | None = None
    licence: str | None
    page: str
    sources: Sequence[str]
    reader: str
    parts: Sequence[Part] = ()
    hint: str | None = None


_ETH = "https://data.vision.ee.ethz.ch/csergi/share/davis"
_STCN = "github.com/hkchengrex/STCN (README.md, download_datasets.py)"
_MOSE_LICENCE = "CC BY-NC-SA 4.0; non-commercial research only"
_LVOS_LICENCE = "annotations CC BY 4.0; data for non-commercial research only"
_LVOS_HINT = (
    "put val_meta.json, published beside the archives, and unseen_videos.txt of the toolkit "
    "(github.com/LingyiHongfd/lvos-evaluation; v1 and v2 have lists of their own) into val/: name "
    "them after the archive"
)

_DAVIS = (
    DataSet(
        name="davis-2016",
        what="one object per video; masks of every frame",
        licence="BSD (toolkit's README)",
        page="https://davischallenge.org",
        sources=("github.com/fperazzi/davis-2017 (README.md)",),
        reader="eval_davis.py --split 2016val",
        parts=(
            Part(
                name="all",
                into=".",
                holds=("JPEGImages", "Annotations", "ImageSets"),
                file="DAVIS-data.zip",
                url="https://graphics.ethz.ch/Downloads/Data/Davis/DAVIS-data.zip",
            ),
        ),
    ),
    DataSet(
        name="davis-2017",
        what="150 videos, 376 objects, 10,459 frames; masks of every frame but for test-dev",
        licence="the authors' videos CC BY 4.0, others as SOURCES.md in the archive says",
        page="https://davischallenge.org/davis2017/code.html",
        sources=("README of the archive", "arXiv:1704.00675"),
        reader="eval_davis.py, train.py --davis_root",
        parts=tuple(
            Part(
                name=name,
                into=name,
                holds=("JPEGImages", "Annotations", "ImageSets"),
                file=f"DAVIS-2017-{name}-480p.zip",
                url=f"{_ETH}/DAVIS-2017-{name}-480p.zip",
            )
            for name in ("trainval", "test-dev")
        ),
    ),
)
_YOUTUBE = DataSet(
    name="youtube-vos",
    what="2018: 3,471 training, 474 validation and 508 test videos; 2019: 3,471, 507 and 541",
    licence=None,
    page="https://youtube-vos.org/dataset/vos/ (sign-in at CodaLab)",
    sources=("github.com/ychfan/youtube-vos.org (_pages/dataset/vos.md)", _STCN),
    reader="eval_youtube.py, train.py --yv_root",
    parts=(
        Part(name="train", into="train", file="train.zip"),
        Part(name="valid", into="valid", file="valid.zip"),
        Part(
            name="valid_all_frames",
            into="all_frames/valid_all_frames",
            holds=("JPEGImages",),
            file="valid_all_frames.zip",
        ),
    ),
)
_MOSE = (
    DataSet(
        name="mose-v1",
        what="2,149 videos, 5,200 objects of 36 categories; of valid, first masks are public",
        licence=_MOSE_LICENCE,
        page="https://github.com/henghuiding/MOSE-api",
        sources=("github.com/henghuiding/MOSE-api (MOSEv1/README.md)",),
        reader="eval_generic.py --benchmark mose",
        parts=(
            Part(
                name="valid",
                into="valid",
                file="valid.tar.gz",
                sha256="884baecf7d7e85cd35486e45d6c474dc34352a227ac75c49f6d5e4afb61b331c",
            ),
            Part(
                name="train",
                into="train",
                file="train.tar.gz",
                sha256="3f805e66ecb576fdd37a1ab2b06b08a428edd71994920443f70d09537918270b",
            ),
        ),
    ),
    DataSet(
        name="mose-v2",
        what="5,024 videos, 10,074 objects of 200 categories; of valid, first masks are public",
        licence=_MOSE_LICENCE,
        page="https://huggingface.co/datasets/FudanCVL/MOSEv2",
        sources=("github.com/henghuiding/MOSE-api (README.md, MOSEv2/README.md)",),
        reader="eval_generic.py --benchmark mose",
        parts=(
            Part(
                name="valid",
                into="valid",
                file="valid.tar.gz",
                url="https://huggingface.co/datasets/FudanCVL/MOSEv2/resolve/main/valid.tar.gz",
            ),
            Part(name="train", into="train", file="train.tar.gz"),
        ),
        hint="train is published in pieces: cat train.tar.gz.* > train.tar.gz; SHA256SUMS beside "
        "them has sums for --sha256",
    ),
)
_LVOS = tuple(
    DataSet(
        name=name,
        what=what,
        licence=_LVOS_LICENCE,
        page="https://github.com/LingyiHongfd/LVOS (Google Drive, Baidu)",
        sources=(
            "github.com/LingyiHongfd/LVOS (README.md)",
            "github.com/LingyiHongfd/lvos-evaluation",
        ),
        reader="eval_generic.py --benchmark lvos",
        parts=tuple(Part(name=part, into=part) for part in ("val", "test", "train")),
        hint=_LVOS_HINT,
    )
    for name, what in (
        ("lvos-v1", "220 long videos: 120 training, 50 validation, 50 test (truth not public)"),
        ("lvos-v2", "720 long videos: 420 training, 140 validation, 160 test (truth not public)"),
    )
)
_VOST = DataSet(
    name="vost",
    what="more than 700 videos of objects that change; test is published apart",
    size="54 GB (as another project recorded it; the authors state none)",
    licence="CC BY-NC-SA 4.0",
    page="https://www.vostdataset.org/data.html",
    sources=("github.com/TRI-ML/VOST (data.html, evaluation/)",),
    reader="eval_generic.py --benchmark vost",
    parts=(
        Part(
            name="all",
            into=".",
            holds=("JPEGImages", "Annotations", "ImageSets"),
            file="VOST.zip",
            url="https://tri-ml-public.s3.amazonaws.com/datasets/VOST.zip",
            size=54_012_104_924,
        ),
    ),
)
_VIPOSEG = DataSet(
    name="viposeg",
    what="VIPSeg for VOS: panoptic scenes with dozens of objects; masks of every frame",
    licence="non-commercial research only",
    page="https://github.com/yoxu515/VIPOSeg-Benchmark (Google Drive)",
    sources=("github.com/yoxu515/VIPOSeg-Benchmark (README.md, vop_eval.py)",),
    reader="eval_generic.py --benchmark viposeg",
    parts=tuple(Part(name=part, into=part) for part in ("valid", "train")),
)
_BURST = DataSet(
    name="burst",
    what="2,914 videos, 16,089 objects of 482 classes; annotated once a second, all truth public",
    licence="annotations MIT; the frames are TAO's, from several data sets",
    page="https://github.com/Ali2500/BURST-benchmark",
    sources=("github.com/Ali2500/BURST-benchmark (README.md, ANNOTATION_FORMAT.md, LICENSE)",),
    reader="scripts/convert_burst.py, then eval_generic.py --data_path",
    parts=(
        Part(
            name="annotations",
            into="annotations",
            holds=("val", "test", "info"),
            file="annotations.zip",
            url="https://omnomnom.vision.rwth-aachen.de/data/BURST/annotations.zip",
        ),
    ),
    hint="the frames are published at https://motchallenge.net/tao_download.php",
)
_BL30K = DataSet(
    name="bl30k",
    what="about 30,000 synthetic videos of 160 frames in six segments, 3 to 5 objects each",
    size="700 GB, 115 GB a segment",
    licence="derived from ShapeNet, see its terms; not for commercial purposes",
    page="https://doi.org/10.13012/B2IDB-1702934_V1",
    sources=("github.com/hkchengrex/MiVOS (README.md, download_bl30k.py)",),
    reader="train.py --bl_root",
)
_STILLS = DataSet(
    name="stills",
    what="still images with masks: DUTS, HRSOD, FSS-1000, ECSSD and BIG",
    licence="each its own",
    page="http://saliencydetection.net/duts, https://github.com/yi94code/HRSOD, "
    "https://github.com/HKUSTCV/FSS-1000, "
    "https://www.cse.cuhk.edu.hk/leojia/projects/hsaliency/dataset.html, "
    "https://github.com/hkchengrex/CascadePSP",
    sources=(_STCN,),
    reader="train.py --static_root",
    hint="unpack each into a folder of its own",
)

DATA_SETS: dict[str, DataSet] = {
    data_set.name: data_set
    for data_set in (*_DAVIS, _YOUTUBE, *_MOSE, *_LVOS, _VOST, _VIPOSEG, _BURST, _BL30K, _STILLS)
}


def describe(data_set: DataSet) -> str:
    """A paragraph on one data set, for people."""
    rows = {
        "size": data_set.size or "not stated on the pages that were read",
        "licence": data_set.licence or "not stated on the pages that were read; see the authors'",
        "from": data_set.page,
        "archives": "; ".join(map(_describe_part, data_set.parts)) or "unpack them yourself",
        "read by": data_set.reader,
        "source": "; ".join(data_set.sources),
    }
    if data_set.hint is not None:
        rows["note"] = data_set.hint
    lines = [_wrapped(f"  {title:<8}  ", text) for title, text in rows.items()]
    return "\n".join([f"{data_set.name}: {data_set.what}", *lines])


def _wrapped(title: str, text: str) -> str:
    """A text in lines of at most 100 characters, indented behind its title; URLs stay whole."""
    return textwrap.fill(
        text,
        _COLUMNS,
        initial_indent=title,
        subsequent_indent=" " * len(title),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _describe_part(part: Part) -> str:
    details = [
        *([part.file] if part.file else []),
        *([f"{part.size / _GIGABYTE:.0f} GB"] if part.size else []),
        "direct link" if part.url else "no direct link",
        "SHA-256 published" if part.sha256 else "no checksum published",
    ]
    return f"{part.name} ({', '.join(details)})"
