/** A header whose hash was computed from its bytes. */
export interface Header {
  height: number;
  previous: string;
  root: string;
  /** Unix milliseconds. */
  time: number;
  difficulty: number;
  nonce: bigint;
  hash: string;
}

export interface Transaction {
  from: string;
  to: string;
  amount: bigint;
  /** Unix milliseconds. */
  time: number;
  nonce: bigint;
  id: string;
}

export interface Block extends Header {
  transactions: Transaction[];
}

/** Who the node says it is, and where it says that its chain ends. */
export interface Greeting {
  nodeId: string;
  userAgent: string;
  version: number;
  best: { height: number; hash: string };
}

export interface NewTransaction {
  from: string;
  to: string;
  amount: number | bigint;
  time?: number;
  nonce?: bigint;
}

export interface Options {
  /** The hash of the chain's genesis: 64 hexadecimal digits. */
  network: string;
  /** Hexadecimal zeros that every hash begins with. Default 2. */
  difficulty?: number;
  nodeId?: string;
  userAgent?: string;
  /** Where the runtime has none of its own. */
  WebSocket?: unknown;
}

export interface ClientEvents {
  open: CustomEvent<Greeting>;
  tip: CustomEvent<Header>;
  transaction: CustomEvent<Transaction>;
  lost: CustomEvent<{ reason: string; again: number | null }>;
}

/** A connection to one node that is kept. */
export class SpacetimeClient extends EventTarget {
  constructor(url: string, options: Options);
  readonly url: string;
  readonly nodeId: string;
  /** The hashes of the best chain as it was checked, from genesis on. */
  readonly chain: string[];
  readonly tip: Header | { height: number; hash: string };
  connect(): Promise<Greeting>;
  close(): void;
  /** The round trip in milliseconds. */
  ping(): Promise<number>;
  headers(locators: string[], max?: number): Promise<Header[]>;
  block(hash: string): Promise<Block>;
  /** Answers the id. */
  sendTransaction(transaction: NewTransaction): string;
  addEventListener<K extends keyof ClientEvents>(
    type: K, listener: (event: ClientEvents[K]) => void, options?: boolean | AddEventListenerOptions): void;
}

export function toHex(bytes: Uint8Array): string;
export function fromHex(text: string): Uint8Array;
export function sha256(bytes: Uint8Array): Uint8Array;
export function readHeader(bytes: Uint8Array): Header;
export function hasWork(header: Header): boolean;
export function encodeTransaction(transaction: NewTransaction): Uint8Array;
export function readTransaction(bytes: Uint8Array): Transaction;
export function readBlock(bytes: Uint8Array): Block;
