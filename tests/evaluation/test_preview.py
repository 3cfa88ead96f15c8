import numpy as np

from bench.evaluation.preview import overlay


def test_the_patients_right_is_on_the_left_and_front_is_up(tmp_path):
    import matplotlib.image

    image_XYZ = np.full((40, 30, 1), -160, np.float32)
    image_XYZ[30:, 20:] = 240  # right (X grows to the right) and front (Y grows to the front)
    labels_XYZ = np.zeros(image_XYZ.shape, np.uint8)
    labels_XYZ[32:38, 22:28] = 1
    path = tmp_path / "picture.png"
    overlay(image_XYZ, labels_XYZ, (2, 2, 5), ["liver"], (-160, 240), path, n_slices=1)
    coloured = matplotlib.image.imread(path)[:, :, :3]
    rows = slice(int(0.1 * len(coloured)), int(0.85 * len(coloured)))  # without title and legend
    coloured = coloured[rows]
    picture = coloured.mean(axis=2)
    columns = np.flatnonzero((picture < 0.1).any(axis=0))  # the CT is mostly air, the page white
    coloured = coloured[:, columns[0] : columns[-1] + 1]
    picture = coloured.mean(axis=2)
    middle_row, middle_column = picture.shape[0] // 2, picture.shape[1] // 2
    bright = picture > 0.9
    assert bright[:middle_row, :middle_column].mean() > 0.1
    assert (
        bright[middle_row:, middle_column:].mean() < bright[:middle_row, :middle_column].mean() / 2
    )


def test_a_map_without_organs_still_gives_a_picture(tmp_path):
    path = tmp_path / "empty.png"
    image_XYZ = np.zeros((8, 8, 3), np.float32)
    overlay(image_XYZ, np.zeros((8, 8, 3), np.uint8), (1, 1, 1), ["a", "b"], (-160, 240), path)
    assert path.stat().st_size > 1000
