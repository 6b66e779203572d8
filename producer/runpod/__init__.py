"""Jobs in the verbs of RunPod's serverless endpoints, which many clients speak."""
