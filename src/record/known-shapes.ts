/** What a queue carries, as texts of shapes: what the driver sends, and what the device answers. */
export interface QueueShapes {
  readonly request?: string;
  readonly response?: string;
}

const MISC_REQUEST =
  'union(type:le32,SET_TIMER=1:{delay_ms:le32,request_id:le32},CANCEL_TIMER=2:{reserved:le32,request_id:le32},SET_TIMER_NS=3:{request_id:le32,delay_ns:le64,interval_ns:le64})';
const MISC_NOTIFICATION = 'union(type:le32,TIMER_EXPIRED=1:{request_id:le32,expirations:tail(le64)})';
const NET =
  '{flags:u8,gso_type:u8,hdr_len:le16,gso_size:le16,csum_start:le16,csum_offset:le16,num_buffers:le16,frame:tail()}';
const INPUT = '{type:le16,code:le16,value:le32}';
const BLK =
  'union(type:le32,IN=0:{reserved:le32,sector:le64},OUT=1:{reserved:le32,sector:le64,data:tail()},FLUSH=4:{reserved:le32,sector:le64},GET_ID=8:{reserved:le32,sector:le64},DISCARD=11:{reserved:le32,sector:le64,ranges:tail({sector:le64,num_sectors:le32,flags:le32})},WRITE_ZEROES=13:{reserved:le32,sector:le64,ranges:tail({sector:le64,num_sectors:le32,flags:le32})})';

/**
 * By virtio id, then by the queue's name without its number: devices that do not say it themselves, of VIRTIO 1.3 §5 and of this package.
 */
export const KNOWN_SHAPES: Readonly<Record<number, Readonly<Record<string, QueueShapes>>>> = {
  1: { receiveq: { response: NET }, transmitq: { request: NET } },
  2: { requestq: { request: BLK, response: '{data:tail(),status:u8}' } },
  3: { receiveq: { response: '{text:tail()}' }, transmitq: { request: '{text:tail()}' } },
  4: { requestq: { response: '{random:tail()}' } },
  5: {
    inflateq: { request: '{pfns:tail(le32)}' },
    deflateq: { request: '{pfns:tail(le32)}' },
    statsq: { request: '{stats:tail({tag:le16,value:le64})}' },
  },
  18: { eventq: { response: INPUT }, statusq: { request: INPUT } },
  45: {
    print: {
      request: '{type:sle32,arg1:sle32,arg2:sle32,arg3:sle32,arg4:text(32)}',
      response: '{ret:sle32,arg1:sle32,arg2:sle32}',
    },
  },
  70: {
    controlq: { request: MISC_REQUEST, response: '{status:le32}' },
    notifyq: { response: MISC_NOTIFICATION },
  },
};

/** What a queue of this device is known to carry. */
export function knownShapes(id: number, queue: string): QueueShapes {
  const queues = Object.hasOwn(KNOWN_SHAPES, id) ? KNOWN_SHAPES[id]! : {};
  const name = queue.replace(/\d+$/, '');
  return Object.hasOwn(queues, name) ? queues[name]! : {};
}
