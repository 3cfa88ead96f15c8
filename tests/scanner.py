"""CT series as scanners and archives write them, and where pydicom says that their pixels are.

`python tests/scanner.py` prints by how many mm and HU the reader differs from pydicom.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

import bench.seeds

SHAPE = (9, 12, 7)
"""Rows, columns and slices of the generated series."""
ORIGIN = np.array([-38.0, -34.0, -15.0])
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


Writer = Callable[[Path], object]


def hounsfield(shape: Sequence[int] = SHAPE) -> NDArray[np.int16]:
    """Return values [row, column, slice] that differ from pixel to pixel."""
    rng = bench.seeds.generator(0, "test-scanner")
    return rng.integers(-1000, 1500, shape).astype(np.int16)


def series(
    *,
    orientation: Sequence[float] = AXIAL,
    step: Sequence[float] = (0.0, 0.0, 5.0),
    spacing: Sequence[float] = (2.0, 2.0),
    hu: NDArray[np.int16] | None = None,
    uid: str = "1.2.3.4",
    rescale: Callable[[int], tuple[float, float]] = lambda k: (1, -1024),
    digits: int = 6,
) -> list[Dataset]:
    """Return the slices of an uncompressed CT series; ``step`` leads from one to the next."""
    hu = hounsfield() if hu is None else hu
    slices = []
    for k in range(hu.shape[2]):
        slope, intercept = rescale(k)
        stored = np.rint((hu[:, :, k] - intercept) / slope)
        header = _header(f"{uid}.{k}", CTImageStorage, uid)
        header.InstanceNumber, header.AcquisitionNumber = k + 1, 1
        header.SeriesNumber, header.SeriesDescription = 2, "Abdomen"
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.ImagePositionPatient = [
            f"{x:.{digits}f}" for x in ORIGIN + k * np.asarray(step, float)
        ]
        header.ImageOrientationPatient = [f"{x:.9f}" for x in orientation]
        header.PixelSpacing = [str(x) for x in spacing]
        header.SliceThickness = "5.0"
        header.RescaleSlope, header.RescaleIntercept = str(slope), str(intercept)
        _pixels(header, stored.astype(np.int16 if stored.min() < 0 else np.uint16))
        slices.append(header)
    return slices


def _header(instance: str, sop_class: str, uid: str) -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = sop_class
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = instance
    header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", uid
    header.FrameOfReferenceUID = "1.2.5"
    header.Modality, header.PatientID, header.PatientName = "CT", "toy", "toy"
    header.PatientBirthDate = header.PatientSex = header.AccessionNumber = ""
    header.StudyID = "1"
    header.StudyDate, header.StudyTime, header.ReferringPhysicianName = "20250101", "120000", ""
    return header


def _pixels(header: Dataset, stored: NDArray[Any]) -> None:
    header.Rows, header.Columns = stored.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.PixelRepresentation = int(stored.dtype.kind == "i")
    header.BitsAllocated = header.BitsStored = 8 * stored.dtype.itemsize
    header.HighBit = header.BitsStored - 1
    header.PixelData = np.ascontiguousarray(stored).tobytes()
    header["PixelData"].VR = "OW"


def enhanced(order: Sequence[int] | None = None, **options: Any) -> Dataset:
    """Return a series as one enhanced multi-frame object."""
    slices = series(**options)
    slices = [slices[k] for k in order or range(len(slices))]
    first = slices[0]
    image = _header("1.2.3.4.99", EnhancedCTImageStorage, "1.2.3.4")
    image.InstanceNumber, image.SeriesNumber = 1, 2
    image.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    _pixels(image, np.stack([_stored(header) for header in slices]))
    image.NumberOfFrames = len(slices)
    shared, frames = Dataset(), []
    shared.PlaneOrientationSequence = [_group(first, "ImageOrientationPatient")]
    shared.PixelMeasuresSequence = [_group(first, "PixelSpacing", "SliceThickness")]
    for header in slices:
        frame = Dataset()
        frame.PlanePositionSequence = [_group(header, "ImagePositionPatient")]
        frame.PixelValueTransformationSequence = [
            _group(header, "RescaleSlope", "RescaleIntercept")
        ]
        frames.append(frame)
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = frames
    return image


def _group(header: Dataset, *names: str) -> Dataset:
    group = Dataset()
    for name in names:
        setattr(group, name, header[name].value)
    return group


def _stored(header: Dataset) -> NDArray[Any]:
    kind = np.int16 if header.PixelRepresentation else np.uint16
    return np.frombuffer(header.PixelData, kind).reshape(header.Rows, header.Columns)


def save(headers: Iterable[Dataset], folder: Path, name: str = "{k:03d}.dcm") -> Path:
    """Write datasets into a folder, numbered in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, header in enumerate(headers):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header.save_as(folder / name.format(k=k), enforce_file_format=True)
    return folder


def compressed(headers: list[Dataset], syntax: str) -> list[Dataset]:
    """Return the slices in a compressed transfer syntax."""
    for header in headers:
        stored = _stored(header)
        header.BitsStored, header.HighBit = 12, 11
        if syntax == RLELossless:
            header.compress(syntax, generate_instance_uid=False)
            continue
        header.PixelData = encapsulate([encoded(stored, syntax)])
        header["PixelData"].VR = "OB"
        header["PixelData"].is_undefined_length = True
        header.file_meta.TransferSyntaxUID = syntax
    return headers


def encoded(stored: NDArray[np.uint16], syntax: str) -> bytes:
    """Return pixels of 12 bits as a stream of JPEG-LS, JPEG 2000 or lossless JPEG."""
    if syntax == JPEGLSLossless:
        import jpeg_ls

        return bytes(jpeg_ls.encode_array(stored))
    if syntax == JPEG2000Lossless:
        import io

        from PIL import Image

        data = io.BytesIO()
        Image.fromarray(stored).save(data, "JPEG2000", irreversible=False, no_jp2=True)
        return data.getvalue()
    return lossless_jpeg(stored)


def lossless_jpeg(stored: NDArray[np.uint16]) -> bytes:
    """Return pixels as lossless JPEG of first order, with a table of 17 codes of equal length."""
    rows, columns = stored.shape
    precision = 12
    head = b"\xff\xd8\xff\xc3" + (11).to_bytes(2, "big") + bytes([precision])
    head += rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + b"\x01\x01\x11\x00"
    counts = [0] * 16
    counts[4] = 17  # codes of five bits
    head += b"\xff\xc4" + (2 + 17 + 17).to_bytes(2, "big") + b"\x00" + bytes(counts)
    head += bytes(range(17)) + b"\xff\xda\x00\x08\x01\x01\x00\x01\x00\x00"
    values = stored.astype(int)
    bits = []
    for row in range(rows):
        for column in range(columns):
            if column:
                guess = values[row, column - 1]
            else:
                guess = values[row - 1, 0] if row else 2 ** (precision - 1)
            difference = int(values[row, column] - guess)
            size = abs(difference).bit_length()
            bits.append(f"{size:05b}")
            if size:
                code = difference if difference > 0 else difference + 2**size - 1
                bits.append(f"{code:0{size}b}")
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    body = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    return head + body + b"\xff\xd9"


def change(headers: list[Dataset], which: int | slice, **values: Any) -> list[Dataset]:
    """Set attributes of some slices; None removes one."""
    chosen = headers[which] if isinstance(which, slice) else [headers[which]]
    for header in chosen:
        for name, value in values.items():
            if value is None:
                delattr(header, name)
            else:
                setattr(header, name, value)
    return headers


def syntax(headers: list[Dataset], uid: str) -> list[Dataset]:
    """Write the headers in another uncompressed transfer syntax."""
    for header in headers:
        header.file_meta.TransferSyntaxUID = uid
        if uid == ExplicitVRBigEndian:
            header.PixelData = _stored(header).byteswap().tobytes()
    return headers


def tilted(degrees: float, **options: Any) -> list[Dataset]:
    """Return a series of a tilted gantry: every slice is shifted against the one before."""
    return series(step=(0, 5 * np.tan(np.deg2rad(degrees)), 5), **options)


def oblique() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return an orientation of slices turned about two axes, and the step along their normal."""
    a, b = np.deg2rad((20, 35))
    row = np.array([np.cos(a), np.sin(a), 0])
    column = np.array([-np.sin(a) * np.cos(b), np.cos(a) * np.cos(b), np.sin(b)])
    return (*row, *column), tuple(3 * np.cross(row, column))


def company(sop_class: str, modality: str) -> Dataset:
    """Return an object without pixels that lies beside a series."""
    header = _header("1.2.3.9.1", sop_class, "1.2.3.9")
    header.Modality = modality
    return header


def screenshot() -> Dataset:
    """Return a dose report as scanners send it: a picture in a series of its own."""
    (header,) = series(hu=hounsfield((30, 40, 1)), uid="1.2.3.8")
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(header, name)
    return header


def scout(uid: str) -> Dataset:
    """Return a localizer: a projection seen from the side."""
    (header,) = series(hu=hounsfield((30, 40, 1)), uid=uid, orientation=(0, 1, 0, 0, 0, -1))
    header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"{uid}.77"
    return header


def _without_part10(folder: Path) -> None:
    for header in syntax(series(), ImplicitVRLittleEndian):
        folder.mkdir(exist_ok=True)
        del header.file_meta
        header.save_as(folder / f"{header.InstanceNumber}", implicit_vr=True, little_endian=True)


def _directory(folder: Path) -> None:
    save(series(), folder, "I{k:07d}")
    from pydicom.fileset import FileSet

    disc = FileSet()
    for path in sorted(folder.iterdir()):
        disc.add(path)
    disc.write(folder / "disc")
    (folder / "disc" / "DICOMDIR").rename(folder / "DICOMDIR")


def _renamed_directory(folder: Path) -> None:
    _directory(folder)
    (folder / "DICOMDIR").rename(folder / "dicomdir.dcm")


def _decimal_comma(folder: Path) -> None:
    save(series(rescale=lambda k: (1.25, -1024)), folder)
    for path in folder.iterdir():
        content = path.read_bytes()
        assert content.count(b"1.25") == 1
        path.write_bytes(content.replace(b"1.25", b"1,25"))


def _copied(folder: Path) -> None:
    save(series(), folder)
    (folder / "copy of 003.dcm").write_bytes((folder / "003.dcm").read_bytes())


def _cut(folder: Path) -> None:
    save(series(), folder)
    path = folder / "003.dcm"
    path.write_bytes(path.read_bytes()[:-50])


def _cut_header(folder: Path) -> None:
    save(series(), folder)
    path = folder / "003.dcm"
    path.write_bytes(path.read_bytes()[:400])


def _beside(name: str, content: bytes) -> Writer:
    def write(folder: Path) -> None:
        save(series(), folder)
        (folder / name).write_bytes(content)

    return write


def _two_acquisitions() -> list[Dataset]:
    headers = series()
    for k, header in enumerate(headers):
        header.AcquisitionNumber = 1 + k % 2
    return headers


def _alternating(name: str, *values: str | None) -> list[Dataset]:
    headers = change(series(), slice(None), AcquisitionNumber=None)
    for k, header in enumerate(headers):
        if (value := values[k % 2]) is not None:
            setattr(header, name, value)
    return headers


def _two(folder: Path) -> None:
    save(series(), folder)
    save(series(uid="1.2.3.5"), folder, "t{k}.dcm")


READ: dict[str, Writer] = {
    "axial": lambda f: save(series(), f),
    "feet to head in other numbers": lambda f: save(series()[::-1], f),
    "instance numbers against positions": lambda f: save(series(step=(0, 0, -5)), f),
    "slice locations of the wrong sign": lambda f: save(
        [h for h in series() if not setattr(h, "SliceLocation", str(-h.ImagePositionPatient[2]))],
        f,
    ),
    "oblique": lambda f: save(series(orientation=oblique()[0], step=oblique()[1]), f),
    "sagittal": lambda f: save(series(orientation=(0, 1, 0, 0, 0, -1), step=(3, 0, 0)), f),
    "coronal": lambda f: save(series(orientation=(1, 0, 0, 0, 0, -1), step=(0, 3, 0)), f),
    "rows and columns of different spacing": lambda f: save(series(spacing=(1.5, 0.7)), f),
    "gantry tilt of 20 degrees": lambda f: save(tilted(20), f),
    "gantry tilt of 1 degree": lambda f: save(tilted(1), f),
    "positions rounded to 0.1 mm": lambda f: save(series(step=(0, 0, 0.625), digits=1), f),
    "table feed against slice thickness": lambda f: save(
        change(series(step=(0, 0, 2.5)), slice(None), SliceThickness="5.0"), f
    ),
    "intercept of the first slice differs": lambda f: save(
        series(rescale=lambda k: (1, -1000 if k == 0 else -1024)), f
    ),
    "slope by slice": lambda f: save(series(rescale=lambda k: (1 + 0.25 * k, -1024)), f),
    "signed values": lambda f: save(series(rescale=lambda k: (1, 0)), f),
    "overlays in the unused bits": lambda f: save(_overlaid(), f),
    "no rescale": lambda f: save(
        change(
            series(rescale=lambda k: (1, 0)),
            slice(None),
            RescaleSlope=None,
            RescaleIntercept=None,
        ),
        f,
    ),
    "MONOCHROME1": lambda f: save(
        change(series(), slice(None), PhotometricInterpretation="MONOCHROME1"), f
    ),
    "one slice": lambda f: save(series()[:1], f),
    "names without a suffix": lambda f: save(series(), f, "IM{k}"),
    "no preamble, implicit VR": _without_part10,
    "implicit VR": lambda f: save(syntax(series(), ImplicitVRLittleEndian), f),
    "big endian": lambda f: save(syntax(series(), ExplicitVRBigEndian), f),
    "RLE": lambda f: save(compressed(series(), RLELossless), f),
    "JPEG-LS": lambda f: save(compressed(series(), JPEGLSLossless), f),
    "JPEG 2000": lambda f: save(compressed(series(), JPEG2000Lossless), f),
    "lossless JPEG": lambda f: save(compressed(series(), JPEGLosslessSV1), f),
    "enhanced multi-frame": lambda f: save([enhanced()], f),
    "enhanced, frames out of order": lambda f: save([enhanced([3, 1, 0, 2, 6, 5, 4])], f),
    "enhanced, tilted, slope by frame": lambda f: save(
        [enhanced(step=(0, 1.82, 5), rescale=lambda k: (1 + 0.5 * k, -1024))], f
    ),
    "a scout in the series": lambda f: save([scout("1.2.3.4"), *series()], f),
    "a scout beside": lambda f: save([scout("1.2.3.7"), *series()], f),
    "DICOMDIR beside": _directory,
    "DICOMDIR of another name beside": _renamed_directory,
    "RTSTRUCT beside": lambda f: save([company(RTStructureSetStorage, "RTSTRUCT"), *series()], f),
    "SEG beside": lambda f: save([company(SegmentationStorage, "SEG"), *series()], f),
    "dose report beside": lambda f: save([screenshot(), *series()], f),
    "a slice copied": _copied,
    "an axial scanner: a time for every four slices": lambda f: save(
        [change([h], 0, AcquisitionTime=f"1010{k // 4:02}")[0] for k, h in enumerate(series())], f
    ),
    "the patient is removed from some": lambda f: save(change(series(), slice(2), PatientID=""), f),
    "notes and hidden files beside": _beside("._003.dcm", b"\0\5\x16\7"),
}
"""Series that are to be read, by what is special about them."""

REFUSED: dict[str, tuple[Writer, str]] = {
    "a slope with a decimal comma": (
        _decimal_comma,
        r"000\.dcm: RescaleSlope is not one number",
    ),
    "two intercepts of a slice": (
        lambda f: save(change(series(), slice(None), RescaleIntercept=["0", "1"]), f),
        r"000\.dcm: RescaleIntercept is not one number",
    ),
    "a slice is missing": (
        lambda f: save(series()[:3] + series()[4:], f),
        r"003\.dcm: .*10 mm",
    ),
    "slices of two distances": (
        lambda f: save(series()[:4] + series(step=(0, 0, 6))[4:], f),
        r"00\d\.dcm: .*mm",
    ),
    "a slice out of line": (
        lambda f: save(
            change(series(), 3, ImagePositionPatient=["-38", "-33.5", "0"]),
            f,
        ),
        r"00\d\.dcm: ",
    ),
    "two slices at one place": (
        lambda f: save([*series(), *change(series()[2:3], 0, SOPInstanceUID="1.9")], f),
        r"00\d\.dcm: .*same place",
    ),
    "two phases in one series": (
        lambda f: save(
            [
                *series(),
                *(change([h], 0, SOPInstanceUID=f"1.9.{i}")[0] for i, h in enumerate(series())),
            ],
            f,
        ),
        r"0\d\d\.dcm: .*same place",
    ),
    "two series": (_two, "holds 2 DICOM series"),
    "a slice without position": (
        lambda f: save(change(series(), 2, ImagePositionPatient=None), f),
        r"002\.dcm: .*position",
    ),
    "no positions": (
        lambda f: save(change(series(), slice(None), ImagePositionPatient=None), f),
        r"00\d\.dcm: .*position",
    ),
    "no orientation": (
        lambda f: save(change(series(), 2, ImageOrientationPatient=None), f),
        r"002\.dcm: .*orientation",
    ),
    "no spacing": (
        lambda f: save(change(series(), 2, PixelSpacing=None), f),
        r"002\.dcm: .*spacing",
    ),
    "a slice turned": (
        lambda f: save(
            change(series(), 2, ImageOrientationPatient=["0", "1", "0", "-1", "0", "0"]), f
        ),
        r"002\.dcm: .*orientation",
    ),
    "axes that are not at right angles": (
        lambda f: save(change(series(), slice(None), ImageOrientationPatient=list("100110")), f),
        r"000\.dcm: .*orientation",
    ),
    "a slice of another spacing": (
        lambda f: save(change(series(), 2, PixelSpacing=["2.1", "2.1"]), f),
        r"002\.dcm: .*spacing",
    ),
    "a slice of another size": (
        lambda f: save([*series()[:3], *series(hu=hounsfield((8, 12, 7)))[3:4], *series()[4:]], f),
        r"003\.dcm: .*8 x 12",
    ),
    "one slice, no thickness": (
        lambda f: save(change(series()[:1], 0, SliceThickness=None), f),
        r"000\.dcm: .*thickness",
    ),
    "only a scout": (lambda f: save([scout("1.2.3.4")], f), r"holds 0 DICOM series \(000\.dcm"),
    "only a dose report": (
        lambda f: save([screenshot()], f),
        r"holds 0 DICOM series \(000\.dcm: Secondary Capture",
    ),
    "in colour": (
        lambda f: save(
            change(series(), slice(None), SamplesPerPixel=3, PhotometricInterpretation="RGB"), f
        ),
        r"00\d\.dcm: .*colour",
    ),
    "deflated": (
        lambda f: save(syntax(series(), DeflatedExplicitVRLittleEndian), f),
        r"00\d\.dcm: .*eflated",
    ),
    "two phases between each other": (
        lambda f: save(_two_acquisitions(), f),
        r"00\d\.dcm: slices of acquisition 1 lie between",
    ),
    "two contrast phases between each other": (
        lambda f: save(_alternating("ContrastBolusAgent", None, "Iomeprol"), f),
        r"00\d\.dcm: slices of contrast agent \(none\) lie between",
    ),
    "two times between each other": (
        lambda f: save(_alternating("AcquisitionTime", "101010", "101110"), f),
        r"00\d\.dcm: slices of acquisition time 101010 lie between",
    ),
    "two patients": (
        lambda f: save(change(series(), slice(3, None), PatientID="other"), f),
        r"003\.dcm: of another patient",
    ),
    "a slice without intercept": (
        lambda f: save(change(series(), 2, RescaleIntercept=None), f),
        r"002\.dcm: the header has no intercept",
    ),
    "two frames of reference": (
        lambda f: save(change(series(), 2, FrameOfReferenceUID="1.2.6"), f),
        r"002\.dcm: .*frame of reference",
    ),
    "no number of the series": (
        lambda f: save(change(series(), 2, SeriesInstanceUID=None), f),
        r"002\.dcm: .*SeriesInstanceUID",
    ),
    "an empty slice": (_beside("IM0008", b""), r"IM0008: is empty"),
    "a slice that is none": (_beside("007.dcm", b"\0" * 999), r"007\.dcm: is no DICOM"),
    "a file is cut": (_cut, r"003\.dcm: "),
    "a header is cut": (_cut_header, r"003\.dcm: "),
    "enhanced, a frame is missing": (
        lambda f: save([enhanced([0, 1, 2, 4, 5, 6])], f),
        r"000\.dcm, frame 4: 10 mm from 000\.dcm, frame 3",
    ),
}
"""Series that are to be refused, and what the line must say."""


def _overlaid() -> list[Dataset]:
    headers = series()
    for header in headers:
        header.BitsStored, header.HighBit = 12, 11
        header.PixelData = (_stored(header) | 0x8000).tobytes()
    return headers


def pixels(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where pydicom says that each pixel is, [N, 3] in RAS mm, and its HU, [N]."""
    places, values = [], []
    seen = set()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            image = pydicom.dcmread(path, force=True)
        except Exception:
            continue
        image_type = image.get("ImageType", [])
        if "PixelData" not in image or "LOCALIZER" in image_type or image.SOPInstanceUID in seen:
            continue
        if image.SOPClassUID not in (CTImageStorage, EnhancedCTImageStorage):
            continue
        if "TransferSyntaxUID" not in image.file_meta:  # a file without preamble
            image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        seen.add(image.SOPInstanceUID)
        frames = image.get("PerFrameFunctionalGroupsSequence", [None])
        stored = image.pixel_array.reshape(len(frames), image.Rows, image.Columns)
        if image.BitsStored == 12:
            stored = stored & 0xFFF
        for array, frame in zip(stored, frames, strict=True):
            place = frame.PlanePositionSequence[0] if frame else image
            scale = frame.PixelValueTransformationSequence[0] if frame else image
            shared = image.SharedFunctionalGroupsSequence[0] if frame else None
            plane = shared.PlaneOrientationSequence[0] if shared else image
            size = shared.PixelMeasuresSequence[0] if shared else image
            along_columns, along_rows = np.reshape(plane.ImageOrientationPatient, (2, 3))
            i, j = np.indices(array.shape)
            xyz = (
                np.asarray(place.ImagePositionPatient, float)
                + j[..., None] * size.PixelSpacing[1] * along_columns
                + i[..., None] * size.PixelSpacing[0] * along_rows
            )
            places.append(xyz.reshape(-1, 3) * (-1, -1, 1))
            slope = float(scale.get("RescaleSlope", 1))
            values.append(array.ravel() * slope + float(scale.get("RescaleIntercept", 0)))
    return np.concatenate(places), np.concatenate(values)


def errors(folder: Path, image: Any) -> tuple[float, float]:
    """Return by how many mm and HU at most an image differs from what its files say."""
    places_N3, values_N = pixels(folder)
    affine = np.asarray(image.affine, float)
    index_N3 = (places_N3 - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    whole_N3 = np.rint(index_N3).astype(int)
    apart = np.linalg.norm((index_N3 - whole_N3) @ affine[:3, :3].T, axis=1).max()
    array = np.asarray(image.dataobj)
    inside_N = ((whole_N3 >= 0) & (whole_N3 < array.shape)).all(axis=1)
    if len(values_N) != array.size or not inside_N.all():
        return float("inf"), float("inf")
    return float(apart), float(np.abs(array[tuple(whole_N3.T)] - values_N).max())


def main() -> int:
    from bench.data.dicom import read_series
    from bench.errors import BenchError

    worst = 0.0
    for name, write in (READ | {n: w for n, (w, _) in REFUSED.items()}).items():
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root) / "s"
            write(folder)
            try:
                apart, off = errors(folder, read_series(folder))
                print(f"{name:42} {apart:10.5f} mm {off:8.3f} HU")
                worst = max(worst, apart)
            except BenchError as error:
                print(f"{name:42} refused: {str(error).replace(root, '')}")
    print(f"largest error {worst:.5f} mm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
