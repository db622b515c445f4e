"""The passes of Numba's compiler that the kernels need: with the others compiling takes a seventh longer.

May import Numba alone.
"""

from numba.core.compiler import CompilerBase, DefaultPassBuilder

# For closures, literals, parallel loops and array expressions, of which the kernels have none, and for what nobody
# looks at. A kernel that needs one of them after all does not compile, and its test says so.
UNNEEDED = {
    "AnnotateTypes",
    "DumpParforDiagnostics",
    "FindLiterallyCalls",
    "InlineClosureLikes",
    "InlineInlinables",
    "InlineOverloads",
    "LiteralPropagationSubPipelinePass",
    "LiteralUnroll",
    "MakeFunctionToJitFunction",
    "NoPythonSupportedFeatureValidation",
    "NopythonRewrites",
    "RewriteDynamicRaises",
    "RewriteSemanticConstants",
    "WithLifting",
}


class KernelCompiler(CompilerBase):
    """Numba's compiler, less the passes that are not needed."""

    def define_pipelines(self):
        """Give the one pipeline, without object mode behind it."""
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes[:] = [step for step in pipeline.passes if step[0].__name__ not in UNNEEDED]
        return [pipeline]
