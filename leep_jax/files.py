"""What a file is, told by its first bytes."""

# How files begin, what they are, and what to do about it.
_KINDS = (
  (b"version https://git-lfs", "a Git LFS pointer: fetch it by git lfs pull"),
  (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
  (b"\x80\x02", "a pickle"),
  (b"\x80\x03", "a pickle"),
  (b"\x80\x04", "a pickle"),
  (b"\x80\x05", "a pickle"),
  (b"PK\x03\x04", "a zip archive: unpack it"),
  (b"PK\x05\x06", "a zip archive with nothing in it"),
  (b"\x1f\x8b", "a gzip archive: unpack it"),
  (b"%PDF", "a PDF file"),
  (b"\x93NUMPY", "a NumPy array (.npy)"),
  (b"MATLAB 5.0", "a MATLAB file: read it by scipy.io.loadmat"),
  (b"PAR1", "a Parquet file"),
)


def kind(head: bytes) -> str | None:
  """Returns what a file is, told by its first bytes, or None.

  Args:
    head: the first bytes, about 500; an image is not told from others.
  """
  if not head:
    return "empty"
  for start, what in _KINDS:
    if head.startswith(start):
      return what
  text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
  if text.startswith((b"<!doctype html", b"<html", b"<head")):
    return "an HTML page: has a download failed?"
  if text.startswith((b"<?xml", b"<svg", b"<error")):
    return "an XML or SVG file"
  if head[4:8] == b"ftyp" and head[8:12] in (
    b"heic",
    b"heix",
    b"mif1",
    b"hevc",
  ):
    return "a HEIC image: convert it to JPEG or PNG"
  if not any(head):
    return "all zero bytes: has a download or a copy failed?"
  return None
