"""AbdomenCT-1K: 1000 abdominal CT with liver, kidneys, spleen and pancreas."""

from bench.data.release import Archive, Release, Scans, numbers


class AbdomenCT1K(Release):
    """Scans of many other sets: no test set beside LiTS, KiTS, the Decathlon or Pancreas-CT."""

    called = "abdomenct1k"
    summary = "1000 abdominal CT, 4 organs, and 62 without labels (AbdomenCT-1K)"
    licence = "CC BY-NC-SA"
    citation = "Ma et al., IEEE TPAMI 44:6695, 2022"
    urls = (
        "https://zenodo.org/records/5903099",
        "https://zenodo.org/records/5903846",
        "https://zenodo.org/records/5903769",
    )
    layout = "Case_NNNNN_0000.nii.gz and Mask/Case_NNNNN.nii.gz"
    folders = ("abdomenct1k", "AbdomenCT-1K", "AbdomenCT1K")
    scans = (Scans("a1k_{:05d}", "Case_{n}_0000.nii", "Case_{n}.nii"),)
    values = {1: "liver", 2: "kidney", 3: "spleen", 4: "pancreas"}
    no_labels = numbers(
        "10 13 16 27 28 32 33 38 43 58 218 224 228 236 241 246 274 404 408 415 416 422 424 429 439"
        " 444 447 456 528 534 552 553 565 588 669 676 688 691 694 698 701 703 705 707 711 725 730"
        " 731 733 737 745 748 750 754 755 758 760 763 781 782 925 955"
    )
    unmeasured = numbers("78 273-278 280-286 462 574-578")
    complete = 1000
    present = {"spleen": 998}
    archives = {
        "AbdomenCT-1K-ImagePart1.zip": Archive("md5:946325d0209179d767bea914c93e9a54"),
        "AbdomenCT-1K-ImagePart2.zip": Archive("md5:eb24ba869589d15fe1d89ccf7f13aaa4"),
        "AbdomenCT-1K-ImagePart3.zip": Archive("md5:7f5a131e83f3bb38932e8fb62d040a3f"),
        "Mask.7z": Archive("md5:dfca75d15912d5d7323585c53e1d75d9"),
    }
