"""CT-ORG: 140 CT with liver, bladder, lungs, kidneys, bones and brain."""

from bench.data.release import Release, Scans


class Ctorg(Release):
    """Volumes 0 to 130 are scans of LiTS; lungs and bones were drawn by an algorithm."""

    called = "ctorg"
    summary = "140 CT, 6 organs (CT-ORG)"
    licence = "CC BY 3.0"
    citation = "Rister et al., Scientific Data 7:381, 2020"
    urls = ("https://www.cancerimagingarchive.net/collection/ct-org",)
    layout = "volume-N.nii.gz and labels-N.nii.gz in one folder"
    folders = ("ctorg", "CT-ORG", "PKG - CT-ORG")
    scans = (Scans("ctorg_{:03d}", "volume-{n}.nii", "labels-{n}.nii"),)
    values = {1: "liver", 2: "bladder", 3: "lung", 4: "kidney", 5: "bone", 6: "brain"}
    unmeasured = range(28, 48)
    cropped = True
    complete = 140
    present = {"bladder": 114, "brain": 9}
    defects = dict.fromkeys((19, 70, 74, 76), "others found its labels faulty; look at it")
