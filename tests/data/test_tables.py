"""Tables of texts and labels."""

import numpy as np
import pytest
from texts import REVIEWS

import leep_jax
from leep_jax import data, validation
from leep_jax.data import duplicates


def load(tmp_path, text, *, name="a.csv", **options):
  path = tmp_path / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return leep_jax.load_dataset(f"csv:{path}", **options)


def texts(dataset):
  return dataset.load()[0].tolist()


def test_reviews():
  dataset = leep_jax.load_dataset(f"csv:{REVIEWS}")
  assert (len(dataset), dataset.num_classes) == (48, 2)
  assert dataset.class_names == ("negative", "positive")
  assert (dataset.inputs, dataset.noun) == ("text", "texts")
  assert dataset.image_shape is None
  found, labels = dataset.load()
  assert found[0] == "The soup was warm and full of taste."
  np.testing.assert_array_equal(labels, np.arange(48) % 2 == 0)
  batches = list(dataset.batches(20))
  assert [x.shape for x, _ in batches] == [(20,), (20,), (8,)]
  assert len(dataset.take(10).labels()) == 10


@pytest.mark.parametrize(
  ("text", "name"),
  [
    ('text,label\n"a, b",x\nc,y\n', "a.csv"),
    ("id;Label;Sentence\n1;x;a, b\n2;y;c\n", "a.csv"),
    ('\ufefftext,label\r\n"a, b",x\r\nc,y\r\n', "a.csv"),
    ("label\ttext\nx\ta, b\n\ny\tc\n", "a.tsv"),
    ('content,text,class\nz,"a, b",x\nz,c,y\n', "a.csv"),
  ],
)
def test_forms(tmp_path, text, name):
  dataset = load(tmp_path, text, name=name)
  assert texts(dataset) == ["a, b", "c"]
  assert dataset.class_names == ("x", "y")
  assert dataset.labels().tolist() == [0, 1]


def test_line_ends_and_quotes_in_texts(tmp_path):
  dataset = load(tmp_path, 'text,label\n"a\nb ""c""",x\nd,y\n')
  assert texts(dataset) == ['a\nb "c"', "d"]
  # Many tsv files have no quoting: a quote is a character.
  dataset = load(tmp_path, 'text\tlabel\n"a" b\tx\n"c\ty\n', name="a.tsv")
  assert texts(dataset) == ['"a" b', '"c']


def test_a_long_text(tmp_path):
  dataset = load(tmp_path, f"text,label\n{'a ' * 200_000},x\nb,y\n")
  assert len(texts(dataset)[0]) == 400_000


def test_columns_can_be_named(tmp_path):
  text = "text,other,label,mark\na,b,0,x\nc,d,1,y\n"
  dataset = load(tmp_path, text, input_column="other", label_column="mark")
  assert texts(dataset) == ["b", "d"]
  assert dataset.class_names == ("x", "y")
  assert load(tmp_path, text).class_names is None


def test_integer_labels(tmp_path):
  dataset = load(tmp_path, "text,label\na,2\nb,0\nc,2\n")
  assert (dataset.num_classes, dataset.class_names) == (3, None)
  assert dataset.labels().tolist() == [2, 0, 2]
  with pytest.warns(validation.InputNote, match="1 of 3 .* label is -1"):
    dataset = load(tmp_path, "text,label\na,2\nb,-1\nc,0\n", ignore_label=-1)
  assert texts(dataset) == ["a", "c"]
  with pytest.raises(validation.DataError, match="--ignore_label=-1"):
    load(tmp_path, "text,label\na,2\nb,-1\nc,0\n")


def test_real_valued_targets(tmp_path):
  dataset = load(tmp_path, "text,stars\na,2.5\nb,4\n", target="stars")
  assert dataset.num_classes == 0
  assert dataset.labels().tolist() == [[2.5], [4.0]]
  with pytest.raises(
    validation.DataError,
    match="1 of 2 targets .* no numbers, such as 'good': line 2",
  ):
    load(tmp_path, "text,stars\na,good\nb,4\n", target="stars")


def test_versions_tell_contents_apart(tmp_path):
  one = load(tmp_path, "text,label\na,x\nb,y\n")
  again = load(tmp_path, "id,text,label\n1,a,x\n2,b,y\n")
  other = load(tmp_path, "text,label\na,x\nb,x\n")
  assert one.version == again.version != other.version


@pytest.mark.parametrize(
  ("text", "message", "options"),
  [
    ("", "is empty", {}),
    ("text,label\n", "no examples: no rows below line 1", {}),
    (
      "a,b\nc,d\n",
      "no column of texts or .* 'a', 'b': name .*--input_column",
      {},
    ),
    ("text,b\nc,d\n", "no column of labels .* --label_column=NAME", {}),
    (
      "text,label\na\n",
      "1 of 1 rows .* than line 1 has names, 2: line 2 has 1",
      {},
    ),
    ('text,label\n"a,b\nc,d\n', "is a quote not closed", {}),
    (b"text,label\n\xff\xfe,1\n", "as UTF-8", {}),
    ("text,label\na,x\n", "has no splits", {"split": "test"}),
    ("text,label\na,x\n", "no column 'b'; it has 't", {"input_column": "b"}),
    ("text,label\na,x\n", "at once", {"label_column": "text"}),
    ("text,label\na,x\n", "choose", {"label_column": "b", "target": "c"}),
    ("text,label\na,x\n", "data_dir is for", {"data_dir": "b"}),
    ("text,label\na,x\nb,\nc, \n", "2 of 3 rows .* no label: lines 3, 4", {}),
  ],
)
def test_mistakes(tmp_path, text, message, options):
  with pytest.raises(leep_jax.InputError, match=message):
    load(tmp_path, text, **options)


def test_columns_are_for_tables():
  with pytest.raises(leep_jax.InputError, match="are for tables .*, not for d"):
    leep_jax.load_dataset("digits", input_column="text")
  with pytest.raises(leep_jax.InputError, match="no path: write csv:FILE"):
    leep_jax.load_dataset("csv:")


def test_empty_texts_are_noted(tmp_path):
  with pytest.warns(validation.InputNote, match="1 of 2 texts .* line 3"):
    assert texts(load(tmp_path, "text,label\na,x\n ,y\n")) == ["a", " "]


def test_a_pair_holds_out_a_fifth_of_each_class():
  train, test = data.load_pair(f"csv:{REVIEWS}")
  assert (len(train), len(test)) == (38, 10)
  assert not set(train.indices) & set(test.indices)


def test_equal_texts_are_copies(tmp_path):
  dataset = load(tmp_path, "text,label\na,x\nb,x\na,x\nb,y\nc,y\n")
  groups = duplicates.find(dataset)
  assert [group.tolist() for group in groups] == [[0, 2], [1, 3]]
  with pytest.warns(validation.InputNote) as noted:
    kept = duplicates.drop(dataset, groups).dataset
  assert texts(kept) == ["a", "b", "b", "c"]
  assert "1 of 5 texts of csv:" in str(noted[0].message)
  assert "1 texts of csv:" in str(noted[1].message)


def test_texts_can_all_be_read(tmp_path):
  dataset = load(tmp_path, "text,label\na,x\nb,y\n", skip_bad_images=True)
  assert len(dataset) == 2
