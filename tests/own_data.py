"""A user's own data: texts, tables and a TFDS dataset in files, and tasks on them."""

import csv
from pathlib import Path

import numpy as np
import pytest

WORDS = {
    "good": "good great lovely superb".split(),
    "bad": "bad awful poor dull".split(),
}


def write_text(path: Path, letters=4_000, seed=0) -> Path:
    """A text with letters of two and more bytes, in lines."""
    rng = np.random.default_rng(seed)
    words = rng.choice(
        ["the", "café", "naïve", "is", "a", "mouse", "日本"], letters // 4
    )
    lines = [" ".join(words[i : i + 9]) for i in range(0, len(words), 9)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def examples(count=300, seed=0) -> list[tuple[str, str]]:
    """Texts whose words tell their labels."""
    rng = np.random.default_rng(seed)
    labels = [str(rng.choice(list(WORDS))) for _ in range(count)]
    return [
        (
            " ".join(rng.choice([*WORDS[label], "the", "film"], rng.integers(3, 9))),
            label,
        )
        for label in labels
    ]


def write_csv(path: Path, columns=("text", "label"), rows=None) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(examples() if rows is None else rows)
    return path


def colours(i: int, good: bool, seed: int) -> np.ndarray:
    """An image of 2 x 2 colours, whose first half is the brighter if it is good."""
    noise = np.random.default_rng([seed, i]).integers(0, 120, (2, 2, 3), np.uint8)
    noise[0 if good else 1] += 110
    return noise


def write_tfds(folder: Path, name="letters") -> None:
    """A dataset on disk whose code is nowhere, as one that was copied here."""
    import tensorflow_datasets as tfds

    class Letters(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "text": tfds.features.Text(),
                "pixels": tfds.features.Tensor(shape=(2, 2), dtype=np.uint8),
                "colours": tfds.features.Tensor(shape=(2, 2, 3), dtype=np.uint8),
                "label": tfds.features.ClassLabel(names=list(WORDS)),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {"train": self._rows(240, 1), "test": self._rows(60, 2)}

        def _rows(self, count, seed):
            for i, (text, label) in enumerate(examples(count, seed)):
                good = label == "good"
                pixels = np.full((2, 2), 200 if good else 3, np.uint8)
                yield (
                    i,
                    {
                        "text": text,
                        "pixels": pixels,
                        "colours": colours(i, good, seed),
                        "label": label,
                    },
                )

        def _generate_examples(self):
            raise NotImplementedError

    Letters.name = name
    Letters(data_dir=folder, file_format="array_record").download_and_prepare()


@pytest.fixture(scope="session")
def own_tasks(tmp_path_factory):
    """A resolved task on each kind of data, by name."""
    from attn.tasks import Csv, Text, Tfds

    here = tmp_path_factory.mktemp("own")
    write_tfds(here / "tfds")
    text, table = write_text(here / "a.txt"), write_csv(here / "a.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(here / "tfds"))
        yield {
            "text": Text(data=str(text), seq_len=32).resolved(),
            "csv": Csv(data=str(table), seq_len=32).resolved(),
            "tfds": Tfds(data="letters", seq_len=32).resolved(),
        }
