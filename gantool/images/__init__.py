"""Files <-> pictures, with all that a picture carries besides its pixels; the peculiarities of formats are known here alone.

`reading` says what is read and what becomes of it, `writing` what can be written. The way between goes in bands of rows;
`read` and `write` have whole pictures as tensors.
"""

from gantool.images.formats import EXTENSIONS, FORMATS, ONLY_8_BITS, SUFFIXES
from gantool.images.metadata import Strip, prepared
from gantool.images.page import Format, Metadata, Page
from gantool.images.picture import Picture, read, write
from gantool.images.reading import MAX_PIXELS, Reader, open_picture
from gantool.images.source import MAX_BYTES
from gantool.images.wholeness import is_whole
from gantool.images.writing import Writer, check_fits, create

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "ONLY_8_BITS",
    "SUFFIXES",
    "Format",
    "Metadata",
    "Page",
    "Picture",
    "Reader",
    "Strip",
    "Writer",
    "check_fits",
    "create",
    "is_whole",
    "open_picture",
    "prepared",
    "read",
    "write",
]
