"""WORD: 150 abdominal CT with sixteen organs; left is before right."""

from bench.data.release import Release, Scans


class Word(Release):
    """Training, validation and test scans; the test labels were first an archive of their own."""

    called = "word"
    summary = "150 abdominal CT, 16 organs (WORD)"
    licence = "GPL-3.0"
    citation = "Luo et al., Med. Image Anal. 82:102642, 2022"
    urls = ("https://github.com/HiLab-git/WORD (password of the archives in its README)",)
    layout = "imagesTr/word_NNNN.nii.gz and labelsTr/word_NNNN.nii.gz (also Val and Ts)"
    folders = ("word", "WORD", "WORD-V0.1.0")
    scans = (
        Scans("word_{:04d}", "imagesTr/word_{n}.nii", "labelsTr/word_{n}.nii"),
        Scans("word_{:04d}", "imagesVal/word_{n}.nii", "labelsVal/word_{n}.nii"),
        Scans("word_{:04d}", "imagesTs/word_{n}.nii", "labelsTs/word_{n}.nii"),
    )
    values = {
        1: "liver",
        2: "spleen",
        3: "kidney_l",
        4: "kidney_r",
        5: "stomach",
        6: "gallbladder",
        7: "esophagus",
        8: "pancreas",
        9: "duodenum",
        10: "colon",
        11: "intestine",
        12: "adrenal",
        13: "rectum",
        14: "bladder",
        15: "femur_head_l",
        16: "femur_head_r",
    }
    sided = True
    complete = 150
