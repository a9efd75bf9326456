"""The verbs: one module and one public function each."""
