"""BTCV: 30 abdominal CT of Beyond the Cranial Vault with thirteen organs."""

from bench.data.release import Release, Scans


class Btcv(Release):
    """The training scans of the abdomen challenge; its test scans were released without labels."""

    called = "btcv"
    summary = "30 abdominal CT, 13 organs (BTCV, Multi-Atlas Labeling Beyond the Cranial Vault)"
    licence = "terms of Synapse"
    citation = "Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault, 2015"
    urls = ("https://www.synapse.org/Synapse:syn3193805 (RawData.zip)",)
    layout = "Training/img/imgNNNN.nii.gz and Training/label/labelNNNN.nii.gz"
    folders = ("btcv", "BTCV", "Abdomen", "RawData")
    scans = (
        Scans("btcv_{:04d}", "img/img{n}.nii", "label/label{n}.nii"),
        Scans("btcv_{:04d}", "imagesTr/img{n}.nii", "labelsTr/label{n}.nii"),
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
        10: "portal_splenic_vein",
        11: "pancreas",
        12: "adrenal_r",
        13: "adrenal_l",
    }
    no_labels = range(61, 81)  # Testing
    sided = True
    complete = 30
    present = {"gallbladder": 28}
