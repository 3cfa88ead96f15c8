"""AMOS22: 300 abdominal CT with fifteen organs, from two hospitals."""

from bench.data.release import Archive, Release, Scans


class Amos(Release):
    """Training and validation CT of the AMOS challenge; its MR scans (500 and above) are not read.

    Voxel sizes in the headers of label maps are rounded, so the image's header counts for both.
    """

    called = "amos"
    summary = "300 abdominal CT, 15 organs (AMOS22)"
    licence = "CC BY 4.0 on Zenodo, elsewhere CC BY-NC-SA"
    citation = "Ji et al., NeurIPS Datasets and Benchmarks, 2022"
    urls = ("https://zenodo.org/records/7262581 (amos22.zip)",)
    layout = "amos22 with imagesTr/amos_NNNN.nii.gz, labelsTr, imagesVa, labelsVa"
    folders = ("amos", "AMOS", "amos22", "AMOS22")
    scans = (
        Scans("amos_{:04d}", "imagesTr/amos_{n}.nii", "labelsTr/amos_{n}.nii"),
        Scans("amos_{:04d}", "imagesVa/amos_{n}.nii", "labelsVa/amos_{n}.nii"),
        Scans("amos_{:04d}", "imagesTs/amos_{n}.nii"),
    )
    values = {
        1: "spleen",
        2: "kidney_r",
        3: "kidney_l",
        4: "gallbladder",
        5: "esophagus",
        6: "liver",
        7: "stomach",
        8: "aorta",
        9: "ivc",
        10: "pancreas",
        11: "adrenal_r",
        12: "adrenal_l",
        13: "duodenum",
        14: "bladder",
        15: "prostate_uterus",
    }
    left_out = range(500, 1000)
    sided = True
    complete = 300
    archives = {
        "amos22.zip": Archive(
            "sha256:d2fbf2c31abba9824d183f05741ce187b17905b8cca64d1078eabf1ba96775c2",
            "https://zenodo.org/records/7262581/files/amos22.zip",
        ),
    }
