"""Evaluation, explanation and reports: works on answers, features and a callable; knows no estimator."""
