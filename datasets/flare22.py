"""FLARE22: 50 abdominal CT with thirteen organs, and 2000 without labels."""

from bench.data.release import Release, Scans


class Flare22(Release):
    """The labelled cases of the FLARE 2022 challenge; they are also scans of Decathlon's Task07."""

    called = "flare22"
    summary = "50 abdominal CT, 13 organs (FLARE 2022)"
    licence = "CC BY-NC-SA"
    citation = "Ma et al., Lancet Digital Health 6:e815, 2024"
    urls = ("https://zenodo.org/records/7860267 (FLARE22Train.zip)",)
    layout = "images/FLARE22_Tr_NNNN_0000.nii.gz and labels/FLARE22_Tr_NNNN.nii.gz"
    folders = ("flare22", "FLARE22", "FLARE2022", "FLARE22Train")
    scans = (
        Scans("flare22_{:04d}", "images/FLARE22_Tr_{n}_0000.nii", "labels/FLARE22_Tr_{n}.nii"),
        Scans("flare22_unlabelled_{:05d}", "FLARE22_UnlabeledCase*/Case_{n}_0000.nii"),
    )
    values = {
        1: "liver",
        2: "kidney_r",
        3: "spleen",
        4: "pancreas",
        5: "aorta",
        6: "ivc",
        7: "adrenal_r",
        8: "adrenal_l",
        9: "gallbladder",
        10: "esophagus",
        11: "stomach",
        12: "duodenum",
        13: "kidney_l",
    }
    sided = True
    complete = 50
