"""A choice at run time among the functions of a table, compiled once for all of them.

A kernel for each combination of activation, loss and optimizer would take minutes to compile; a switch that stands
outside the loop over units costs next to nothing. May import Numba and llvmlite alone.
"""

from numba.core import cgutils, types
from numba.extending import lower_builtin, type_callable


def switch(functions, otherwise):
    """Give ``f(kind, arguments)``, which calls ``functions[kind](*arguments)``.

    Parameters
    ----------
    functions : sequence of kernels
        All with the same arguments and result; ``kind`` is the index.
    otherwise : kernel
        Called for every other ``kind``; it should write NaN, so that a mistake shows.
    """

    def choose(kind, arguments):
        return (functions[kind] if 0 <= kind < len(functions) else otherwise)(*arguments)

    def resolve(typing_context, arguments):
        """Give the Numba function and the signature of each case, `otherwise` last."""
        cases = [typing_context.resolve_value_type(f) for f in (*functions, otherwise)]
        return [(case, case.get_call_type(typing_context, arguments.types, {})) for case in cases]

    @type_callable(choose)
    def typing(context):
        def typer(kind, arguments):
            if isinstance(kind, types.Integer) and isinstance(arguments, types.BaseTuple):
                return resolve(context, arguments)[-1][1].return_type
            return None

        return typer

    # A chain of ifs in Numba's own language would compile every case anew for each link of the chain.
    @lower_builtin(choose, types.Integer, types.BaseTuple)
    def lowering(context, builder, signature, args):
        kind, arguments = args[0], cgutils.unpack_tuple(builder, args[1])
        blocks, results = [], []
        cases = resolve(context.typing_context, signature.args[1])
        end = builder.append_basic_block("switch.end")
        start = builder.block
        for case, case_signature in cases:
            blocks.append(builder.append_basic_block("switch.case"))
            builder.position_at_end(blocks[-1])
            result = context.get_function(case, case_signature)(builder, arguments)
            results.append((result, builder.block))
            builder.branch(end)
        builder.position_at_end(start)
        instruction = builder.switch(kind, blocks[-1])
        for number, block in enumerate(blocks[:-1]):
            instruction.add_case(kind.type(number), block)
        builder.position_at_end(end)
        if signature.return_type == types.none:
            return context.get_dummy_value()
        phi = builder.phi(results[0][0].type)
        for result, block in results:
            phi.add_incoming(result, block)
        return phi

    return choose
