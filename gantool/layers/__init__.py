"""Words that papers use without redefining them: resampling, convolutions, normalisations, features."""
