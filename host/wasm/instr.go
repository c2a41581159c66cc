package wasm

// Opcodes that this package treats by name (Wasm core specification, appendix "Index of Instructions").
const (
	opUnreachable        = 0x00
	opBlock              = 0x02
	opLoop               = 0x03
	opIf                 = 0x04
	opElse               = 0x05
	opThrow              = 0x08
	opThrowRef           = 0x0a
	opEnd                = 0x0b
	opBr                 = 0x0c
	opBrIf               = 0x0d
	opBrTable            = 0x0e
	opReturn             = 0x0f
	opCall               = 0x10
	opCallIndirect       = 0x11
	opReturnCall         = 0x12
	opReturnCallIndirect = 0x13
	opCallRef            = 0x14
	opReturnCallRef      = 0x15
	opTryTable           = 0x1f
	opLocalGet           = 0x20
	opLocalSet           = 0x21
	opLocalTee           = 0x22
	opGlobalGet          = 0x23
	opGlobalSet          = 0x24
	opMemorySize         = 0x3f
	opMemoryGrow         = 0x40
	opI32Const           = 0x41
	opI64Const           = 0x42
	opF32Const           = 0x43
	opF64Const           = 0x44
	opI32LtS             = 0x48
	opI32Sub             = 0x6b
	opI32ShrU            = 0x76
	opRefNull            = 0xd0
	opRefFunc            = 0xd2
	opBrOnNull           = 0xd5
	opBrOnNonNull        = 0xd6
	opPrefixGC           = 0xfb
	opPrefixMisc         = 0xfc
	opPrefixVector       = 0xfd
	opPrefixAtomic       = 0xfe

	// after opPrefixMisc
	miscMemoryInit = 8
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17
)

// imm is what follows an opcode.
type imm byte

const (
	immUnknown imm = iota
	immNone
	immBlockType
	immLabel
	immBrTable
	immFunc
	immCallIndirect
	immType
	immLocal
	immGlobal
	immTable
	immTag
	immMemArg
	immMemory
	immI32
	immI64
	immF32
	immF64
	immHeapType
	immSelectTypes
	immTryTable
	immPrefix
)

var immOf = func() (t [256]imm) {
	fill := func(from, to int, k imm) {
		for i := from; i <= to; i++ {
			t[i] = k
		}
	}
	fill(0x00, 0x01, immNone)      // unreachable, nop
	fill(0x02, 0x04, immBlockType) // block, loop, if
	t[opElse], t[opEnd], t[opReturn], t[opThrowRef] = immNone, immNone, immNone, immNone
	t[opThrow] = immTag
	t[opBr], t[opBrIf], t[opBrTable] = immLabel, immLabel, immBrTable
	t[opCall], t[opReturnCall] = immFunc, immFunc
	t[opCallIndirect], t[opReturnCallIndirect] = immCallIndirect, immCallIndirect
	t[opCallRef], t[opReturnCallRef] = immType, immType
	fill(0x1a, 0x1b, immNone) // drop, select
	t[0x1c] = immSelectTypes
	t[opTryTable] = immTryTable
	fill(0x20, 0x22, immLocal)
	fill(0x23, 0x24, immGlobal)
	fill(0x25, 0x26, immTable)
	fill(0x28, 0x3e, immMemArg)
	fill(0x3f, 0x40, immMemory)
	t[opI32Const], t[opI64Const], t[opF32Const], t[opF64Const] = immI32, immI64, immF32, immF64
	fill(0x45, 0xc4, immNone)
	t[opRefNull], t[0xd1], t[opRefFunc], t[0xd3], t[0xd4] = immHeapType, immNone, immFunc, immNone, immNone
	t[opBrOnNull], t[opBrOnNonNull] = immLabel, immLabel
	t[opPrefixMisc], t[opPrefixVector], t[opPrefixAtomic] = immPrefix, immPrefix, immPrefix
	return t
}()

// instr is one decoded instruction. Which of its numbers mean something depends on the opcode.
type instr struct {
	op    byte
	sub   uint32 // after a prefix
	index uint32 // of a function, type, local, global, table, data or element segment, or a label
	block int64  // block type: negative for an empty one or a value type, else a type index
	start int    // in the reader's bytes
}

// blockEmpty is the block type that takes and gives nothing.
const blockEmpty = -64

// next decodes one instruction and steps over its immediates. label is called for every branch target.
func (r *reader) next(in *instr, label func(depth uint32)) {
	in.start = r.pos
	in.op = r.byte("an instruction")
	if r.err != nil {
		return
	}
	switch immOf[in.op] {
	case immNone:
	case immBlockType:
		in.block = r.blockType()
	case immLabel:
		in.index = r.u32("a label")
		r.target(in.index, label)
	case immBrTable:
		for n := r.count(1, "labels"); n > 0 && r.err == nil; n-- {
			r.target(r.u32("a label"), label)
		}
		r.target(r.u32("a label"), label)
	case immFunc:
		in.index = r.u32("a function index")
	case immCallIndirect:
		in.index = r.u32("a type index")
		r.u32("a table index")
	case immType:
		in.index = r.u32("a type index")
	case immLocal:
		in.index = r.u32("a local index")
	case immGlobal:
		in.index = r.u32("a global index")
	case immTable:
		in.index = r.u32("a table index")
	case immTag:
		in.index = r.u32("a tag index")
	case immMemArg:
		r.memArg()
	case immMemory:
		r.u32("a memory index")
	case immI32:
		r.sleb(32, "an i32 constant")
	case immI64:
		r.sleb(64, "an i64 constant")
	case immF32:
		r.bytes(4, "an f32 constant")
	case immF64:
		r.bytes(8, "an f64 constant")
	case immHeapType:
		r.heapType()
	case immSelectTypes:
		for n := r.count(1, "result types"); n > 0 && r.err == nil; n-- {
			r.valueType("a result type")
		}
	case immTryTable:
		in.block = r.blockType()
		for n := r.count(2, "catch clauses"); n > 0 && r.err == nil; n-- {
			at := r.pos
			kind := r.byte("a catch clause")
			if r.err == nil && kind > 3 {
				r.fail(at, ErrMalformed, "expected a catch clause, found kind %d", kind)
			}
			if kind < 2 {
				r.u32("a tag index")
			}
			r.target(r.u32("a label"), label)
		}
	case immPrefix:
		in.sub = r.u32("an opcode after prefix")
		switch in.op {
		case opPrefixMisc:
			r.miscImmediates(in)
		case opPrefixVector:
			r.vectorImmediates(in)
		default:
			r.atomicImmediates(in)
		}
	default:
		r.unknownOpcode(in)
	}
}

func (r *reader) target(depth uint32, label func(uint32)) {
	if r.err == nil && label != nil {
		label(depth)
	}
}

func (r *reader) unknownOpcode(in *instr) {
	switch in.op {
	case 0x06, 0x07, 0x09, 0x18, 0x19:
		r.fail(in.start, ErrUnsupported, "opcode 0x%02x belongs to the legacy exception-handling proposal: build with the standard one (try_table)", in.op)
	case opPrefixGC:
		r.fail(in.start, ErrUnsupported, "opcode 0xfb belongs to the garbage-collection proposal")
	case opPrefixMisc, opPrefixVector, opPrefixAtomic:
		r.fail(in.start, ErrUnsupported, "unknown opcode 0x%02x %d", in.op, in.sub)
	default:
		r.fail(in.start, ErrUnsupported, "unknown opcode 0x%02x", in.op)
	}
}

func (r *reader) blockType() int64 {
	start := r.pos
	if r.pos < len(r.b) && (r.b[r.pos] == refNull || r.b[r.pos] == refNonNull) {
		return -64 + int64(r.valueType("a block type")&0x3f) // some negative number other than blockEmpty
	}
	t := r.sleb(33, "a block type")
	if c := byte(t & 0x7f); r.err == nil && t < 0 && t != blockEmpty && (t < -64 || c < 0x7b && !isShortRef(c)) {
		r.fail(start, ErrMalformed, "expected a block type, found %d", t)
	}
	return t
}

func (r *reader) memArg() {
	at := r.pos
	align := r.u32("an alignment")
	if r.err == nil && align >= 128 {
		r.fail(at, ErrMalformed, "expected an alignment, found 2^%d", align)
	}
	if align&0x40 != 0 { // multi-memory
		r.u32("a memory index")
	}
	r.uleb(64, "an offset")
}

func (r *reader) miscImmediates(in *instr) {
	switch in.sub {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating truncations
	case miscMemoryInit:
		in.index = r.u32("a data segment's index")
		r.u32("a memory index")
	case 9: // data.drop
		in.index = r.u32("a data segment's index")
	case miscMemoryCopy:
		r.u32("a memory index")
		r.u32("a memory index")
	case miscMemoryFill:
		r.u32("a memory index")
	case miscTableInit:
		in.index = r.u32("an element segment's index")
		r.u32("a table index")
	case 13: // elem.drop
		in.index = r.u32("an element segment's index")
	case miscTableCopy:
		in.index = r.u32("a table index")
		r.u32("a table index")
	case miscTableGrow, miscTableSize, miscTableFill:
		in.index = r.u32("a table index")
	default:
		r.unknownOpcode(in)
	}
}

func (r *reader) vectorImmediates(in *instr) {
	switch op := in.sub; {
	case op <= 11, op == 92, op == 93: // loads, store
		r.memArg()
	case op == 12, op == 13: // v128.const, i8x16.shuffle
		r.bytes(16, "a v128 immediate")
	case op >= 21 && op <= 34: // lanes
		r.byte("a lane index")
	case op >= 84 && op <= 91: // loads and stores of a lane
		r.memArg()
		r.byte("a lane index")
	case op == 154, op == 162, op == 165, op == 166, op == 175, op == 176, op == 178, op == 179, op == 180, op == 187,
		op == 194, op == 197, op == 198, op == 207, op == 208, op == 210, op == 211, op == 212, op == 226, op == 238,
		op > 275:
		r.unknownOpcode(in)
	}
}

func (r *reader) atomicImmediates(in *instr) {
	switch op := in.sub; {
	case op == 3: // atomic.fence
		r.byte("a zero byte")
	case op <= 2, op >= 0x10 && op <= 0x4e:
		r.memArg()
	default:
		r.unknownOpcode(in)
	}
}

// constExpr steps over a constant expression and gives its bytes, the end instruction included.
func (r *reader) constExpr() []byte {
	start := r.pos
	var in instr
	for r.err == nil {
		if r.pos < len(r.b) && r.b[r.pos] == opPrefixGC {
			r.gcConst()
			continue
		}
		r.next(&in, nil)
		switch in.op {
		case opEnd:
			if r.err != nil {
				return nil
			}
			return r.b[start:r.pos:r.pos]
		case opI32Const, opI64Const, opF32Const, opF64Const, opGlobalGet, opRefNull, opRefFunc, 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e:
		case opPrefixVector:
			if in.sub == 12 {
				continue
			}
			r.fail(in.start, ErrMalformed, "expected a constant expression, found opcode 0xfd %d", in.sub)
		default:
			r.fail(in.start, ErrMalformed, "expected a constant expression, found opcode 0x%02x", in.op)
		}
	}
	return nil
}

// gcConst steps over the constant instructions of the garbage-collection proposal.
func (r *reader) gcConst() {
	start := r.pos
	r.byte("an instruction")
	switch op := r.u32("an opcode after prefix"); op {
	case 0, 1, 6, 7: // struct.new, struct.new_default, array.new, array.new_default
		r.u32("a type index")
	case 8: // array.new_fixed
		r.u32("a type index")
		r.u32("a number of elements")
	case 26, 27, 28: // any.convert_extern, extern.convert_any, ref.i31
	default:
		r.fail(start, ErrMalformed, "expected a constant expression, found opcode 0xfb %d", op)
	}
}
