"""How photos lose quality: blur, resizing, noise and JPEG, alone and as the mixtures that papers train with.

What implements `gantool.fitting.Degradation` is a frozen dataclass whose fields are its ranges, the paper's by default; two
images and two generators in the same state give the same result.
"""

from gantool.degradations.bsrgan import BSRGAN as BSRGAN
from gantool.degradations.corruptions import Jpeg as Jpeg
from gantool.degradations.corruptions import SensorNoise as SensorNoise
from gantool.degradations.corruptions import Unknown as Unknown
from gantool.degradations.operations import add_noise as add_noise
from gantool.degradations.operations import in_8_bits as in_8_bits
from gantool.degradations.operations import jpeg as jpeg
from gantool.degradations.second_order import Order as Order
from gantool.degradations.second_order import SecondOrder as SecondOrder
from gantool.degradations.sharpening import usm_sharpen as usm_sharpen
