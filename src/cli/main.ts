#!/usr/bin/env node
import { Command } from 'commander';

const program: Command = new Command('virtio-misc');
program.parse();
