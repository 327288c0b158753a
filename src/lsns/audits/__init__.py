"""Is it a network or an artefact: reliability, calibration, outliers, confounds, and a verdict."""
